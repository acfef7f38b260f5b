"""Runs an interactive shell in a pseudo-terminal, as script, tmux and ssh do: what the shell knows, its jobs, and which
group is in the foreground are there after a recover."""
import os
import pty
import select
import signal
import sys
import time

go_file = sys.argv[-1]
pid, terminal = pty.fork()
if pid == 0:
    os.environ["PS1"] = "$ "
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored in what a script runs in the background
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

said = b""


def ask(text, answer):
    """Types `text`, and waits until the terminal has shown `answer`."""
    global said
    said = b""
    os.write(terminal, text)
    while answer not in said:
        if not select.select([terminal], [], [], 30)[0]:
            print("no", answer, "after", text, "but", said, flush=True)
            sys.exit(1)
        said += os.read(terminal, 4096)


ask(b"stty -echo; x=40; echo begun $((x + 1))\n", b"begun 41")
ask(b"sleep 1000 & echo job $((40 + 2))\n", b"job 42")
os.write(terminal, b"echo front $((40 + 3)); sleep 1000\n")
while b"front 43" not in said:
    said += os.read(terminal, 4096)
# The foreground job has the terminal.
while os.tcgetpgrp(terminal) == pid:
    time.sleep(0.01)
print("ready", flush=True)
while not os.path.exists(go_file):
    time.sleep(0.01)
if os.tcgetpgrp(terminal) == pid:
    print("the shell is in the foreground, not its job")
os.write(terminal, b"\x03")
while os.tcgetpgrp(terminal) != pid:
    time.sleep(0.01)
ask(b"echo status $?\n", b"status 130")
ask(b"jobs; echo shown\n", b"shown")
if b"sleep 1000" not in said:
    print("the job in the background is unknown:", said)
ask(b"kill %1; wait %1; echo killed $?\n", b"killed 143")
ask(b"echo $((x + 2))\n", b"42")
os.write(terminal, b"exit 7\n")
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print("ok" if status == 7 else f"the shell ended with {status}")
