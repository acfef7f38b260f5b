#!/usr/bin/env bash
# Programs that were recovered under new ids (--pids new) go on with those that they know: their own, their children's,
# those that processes have told each other, over several recovers and whatever they execute. Where nothing translates,
# the recover says so.
#
#   new_ids_stay_unseen.sh [ROW...]
#
# timeout: 240
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure

# recovers NAME POLICY...: checkpoint, kill and recover, once for each.
recovers() {
  local name=$1 policy
  shift
  for policy; do
    checkpoint "$name"
    kill9_family
    recover "$name" -v --pids "$policy"
    wait_for_line "$ERR" "resumed $name@"
    if grep -q 'see their new ids' "$ERR"; then fail "$(cat "$ERR")"; fi
  done
}

# finds NAME POLICY...: NAME.py goes through it once it has printed "ready", and prints "ok" when it finds `go`.
finds() {
  start_run --name "$1" -- "$PYTHON" "$1.py"
  wait_for_line "$OUT" '^ready$'
  recovers "$@"
  grep -q 'instead of' "$ERR" || fail "the last recover gave no new ids: $(cat "$ERR")"
  touch go
  wait_run
  expect_eq "what $1.py finds (status $RUN_STATUS: $(grep DIFFERS "$OUT" || tail -n 5 "$ERR"))" ok "$(tail -n 1 "$OUT")"
}

# What the rows' programs import.
write_checks() {
  cat >checks.py <<'SCRIPT'
import os, sys, time

wrong = []

def expect(what, found, wanted):
    if found != wanted:
        print(f"DIFFERS {what}: {found} instead of {wanted}", flush=True)
        wrong.append(what)

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

def finish():
    if not wrong:
        print("ok", flush=True)
    sys.exit(len(wrong))
SCRIPT
}

# Every call that takes or gives an id, by its function and by syscall(); an ended child; ids told through a pipe; the
# group that is signalled; what is born meanwhile and afterwards.
calls() {
  cat >calls.py <<'SCRIPT'
import ctypes, fcntl, os, resource, signal, struct, subprocess, sys, time
from checks import expect, finish, wait_for

SYSCALL = ctypes.CDLL(None, use_errno=True).syscall
GETPID, WAIT4, KILL, GETPPID, GETPGID, GETTID, FORK, WAITID = 39, 61, 62, 110, 121, 186, 57, 247
me, parent, group, session = os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0)
told, tell = os.pipe()

def live():
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    os.write(tell, struct.pack("3i", os.getpid(), os.getppid(), os.getpgrp()))
    while True:
        time.sleep(0.01)

def fork(work):
    child = os.fork()
    if child == 0:
        work()
        os._exit(3)
    return child

child = fork(live)
expect("what the child says", struct.unpack("3i", os.read(told, 12)), (child, me, child))
ended = fork(lambda: None)
killed = fork(lambda: os.kill(os.getpid(), signal.SIGKILL))
for each in (ended, killed):
    os.waitid(os.P_PID, each, os.WEXITED | os.WNOWAIT)
pidfd = os.pidfd_open(child)
owned, other = os.pipe()
fcntl.fcntl(owned, fcntl.F_SETOWN, me)
executed = subprocess.Popen([sys.executable, "-c", """
import os
from checks import expect, finish, wait_for
ids = os.getpid(), os.getppid(), os.getpgrp()
open("executed", "w").close()
wait_for("go.executed")
expect("the ids of what was executed before", (os.getpid(), os.getppid(), os.getpgrp()), ids)
finish()
"""])
wait_for("executed")

def check():
    expect("own ids", (os.getpid(), os.getppid() == parent or me == parent, os.getpgrp(), os.getsid(0)),
           (me, os.getppid() == parent, group, session))
    expect("getpid by number", (SYSCALL(GETPID), SYSCALL(GETTID)), (me, me))
    expect("the group of the child", (os.getpgid(child), SYSCALL(GETPGID, child), os.getpgid(me)), (child, child, group))
    expect("the session of the child", os.getsid(child), session)
    expect("whether the child is there", (os.kill(child, 0), os.killpg(child, 0), SYSCALL(KILL, child, 0)), (None, None, 0))
    expect("the owner of signals", fcntl.fcntl(owned, fcntl.F_GETOWN), me)
    expect("settings of the child", (os.sched_getaffinity(child), os.getpriority(os.PRIO_PROCESS, child),
                                     os.sched_getscheduler(child), resource.prlimit(child, resource.RLIMIT_CORE)),
           (os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0),
            resource.getrlimit(resource.RLIMIT_CORE)))
    os.close(os.pidfd_open(child))
    signal.pidfd_send_signal(pidfd, 0)
    news = os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    expect("the ended child", (news.si_pid, news.si_status), (ended, 3))
    born = fork(lambda: os._exit(5 if (os.getppid(), os.getpgrp()) == (me, group) else 6))
    expect("a newborn", os.waitpid(born, 0), (born, 5 << 8))
    born = SYSCALL(FORK)
    if born == 0:
        os._exit(SYSCALL(GETPPID) == me)
    status = ctypes.c_int()
    expect("a newborn by number", (SYSCALL(WAIT4, born, ctypes.byref(status), 0, None), status.value), (born, 1 << 8))
    ran = subprocess.run([sys.executable, "-c", f"import os, sys; sys.exit(os.getppid() != {me})"], check=False)
    expect("the parent of what is executed now", ran.returncode, 0)
    ran = subprocess.run(f"sh -c '[ $PPID = '$$' ]; echo $?'; echo $PPID", shell=True, capture_output=True, text=True, check=False)
    expect("what shells see", ran.stdout, f"0\n{me}\n")

check()
print("ready", flush=True)
while not os.path.exists("go"):
    check()
    time.sleep(0.01)
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(me, signal.SIGUSR1)
expect("who sent a signal", signal.sigwaitinfo([signal.SIGUSR1]).si_pid, me)
expect("the ended ones", (os.waitpid(ended, 0), os.waitpid(killed, 0)), ((ended, 3 << 8), (killed, 9)))
os.killpg(child, signal.SIGTERM)
expect("the child's end", os.waitpid(child, 0), (child, 7 << 8))
open("go.executed", "w").close()
expect("what was executed before", executed.wait(), 0)
try:
    os.kill(99999999, 0)
    expect("a signal for nobody", "sent", "not sent")
except ProcessLookupError:
    pass
finish()
SCRIPT
  finds calls new auto new new
}

# A shell with jobs, some of which have ended, and traps.
shell() {
  cat >shell <<'SCRIPT'
#!/usr/bin/env bash
set -m
trap 'echo trapped; exit 4' USR1
self=$$ parent=$PPID
( trap 'echo "told by $PPID"; exit 21' TERM; while :; do sleep 0.01; done ) & first=$!
( until [[ -e go ]]; do sleep 0.01; done; [[ $PPID == "$parent" && $$ == "$self" ]]; exit $((22 + $?)) ) & second=$!
( exit 23 ) & third=$!
sleep 1000 | cat & fourth=$!
while [[ -d /proc/$third/exe ]]; do sleep 0.01; done
echo ready
until [[ -e go ]]; do sleep 0.01; done
wait -n $second; echo "second $?"
wait $third; echo "third $?"
kill %1; wait $first; echo "first $?"
kill -TERM -- -"$(jobs -p %4)"; wait $fourth; echo "fourth $?"
[[ $(bash -c 'echo $PPID') == "$self" ]] && echo "own id $((self - $$))"
bash -c 'kill -USR1 $PPID'
sleep 1000
SCRIPT
  chmod +x shell
  start_run --name shell -- ./shell
  wait_for_line "$OUT" '^ready$'
  recovers shell new auto new
  touch go
  expect_exit 4
  expect_eq "what the shell says" "second 22;third 23;told by ;first 21;fourth 143;own id 0;trapped;" \
    "$(sed 's/told by .*/told by /' "$OUT" | tr '\n' ';')"
}

# The program itself executes another one, which is still the one that takes part.
executes() {
  cat >executes.py <<'SCRIPT'
import ctypes, os, sys
from checks import expect, finish, wait_for
ckpt = ctypes.CDLL(None)
if len(sys.argv) == 1:
    print("ready", flush=True)
    wait_for("go")
    child = os.fork()
    if child == 0:
        wait_for("end")
        os._exit(6)
    os.execv(sys.executable, [sys.executable, "executes.py", str(os.getpid()), str(os.getppid()), str(child)])
me, parent, child = map(int, sys.argv[1:])
expect("its ids", (os.getpid(), os.getppid()), (me, parent))
expect("whether it takes part", (ckpt.ckpt_disable(), ckpt.ckpt_enable()), (0, 0))
print("executed", flush=True)
wait_for("end")
expect("its id at the end", os.getpid(), me)
expect("whether it still takes part", (ckpt.ckpt_disable(), ckpt.ckpt_enable()), (0, 0))
expect("the child", os.waitpid(child, 0), (child, 6 << 8))
finish()
SCRIPT
  start_run --name executes -- "$PYTHON" executes.py
  wait_for_line "$OUT" '^ready$'
  recovers executes new
  touch go
  wait_for_line "$OUT" '^executed$'
  recovers executes new auto new
  touch end
  wait_run
  expect_eq "what executes.py finds (status $RUN_STATUS: $(grep DIFFERS "$OUT" || tail -n 5 "$ERR"))" ok "$(tail -n 1 "$OUT")"
}

# The kernel gives a child the id by which the program knows itself. Only root may choose ids.
newborn() {
  cat >newborn.py <<'SCRIPT'
import ctypes, os, signal, struct, time
from checks import expect, finish, wait_for

CLONE3 = 435
SYSCALL = ctypes.CDLL(None, use_errno=True).syscall
me, group = os.getpid(), os.getpgrp()

def fork_as(kernel_id):
    ids = (ctypes.c_int * 1)(kernel_id)
    arguments = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(ids), 1, 0)
    child = SYSCALL(CLONE3, arguments, len(arguments))
    if child == 0:
        expect("the kernel's id", int(os.readlink("/proc/self")), me)
        expect("the parent", os.getppid(), me)
        os.write(tell, struct.pack("i", os.getpid()))
        while True:
            time.sleep(0.01)
    if child < 0:
        expect("the error of clone3", os.strerror(ctypes.get_errno()), "none")
        finish()
    return child

told, tell = os.pipe()
print("ready", flush=True)
wait_for("go")
born = fork_as(me)
expect("whether it has an id of its own", born not in (me, int(os.readlink("/proc/self"))), True)
expect("what it sees itself", struct.unpack("i", os.read(told, 4))[0], born)
expect("groups", (os.getpgid(born), os.getpgid(me)), (group, group))
print("born", flush=True)
wait_for("end")
expect("what it is known as", (os.getpid(), os.getpgid(born)), (me, group))
os.kill(born, signal.SIGKILL)
expect("whom that kills", os.waitpid(-1, 0), (born, signal.SIGKILL))
finish()
SCRIPT
  start_run --name newborn -- "$PYTHON" newborn.py
  wait_for_line "$OUT" '^ready$'
  checkpoint newborn
  kill9_program  # and ckptrun waits for it, so that its id is free
  recover newborn --pids new
  touch go
  wait_for_line "$OUT" '^born$'
  recovers newborn new auto new
  touch end
  wait_run
  expect_eq "what newborn.py finds (status $RUN_STATUS: $(grep DIFFERS "$OUT" || true))" ok "$(tail -n 1 "$OUT")"
}

# libc waits for a child that the program does not know.
waits_in_libc() {
  cat >waits_in_libc.py <<'SCRIPT'
import os
from checks import expect, finish
expect("what system() returns", os.system("touch started; until [ -e go ]; do sleep 0.01; done; exit 5"), 5 << 8)
finish()
SCRIPT
  local policy
  start_run --name waits_in_libc -- "$PYTHON" waits_in_libc.py
  wait_until "the shell" test -e started
  for policy in new new; do
    checkpoint waits_in_libc
    kill9_family
    recover waits_in_libc -v --pids "$policy"
    wait_for_line "$ERR" "resumed waits_in_libc@"
  done
  touch go
  expect_exit 0
  expect_eq "the program's last line" ok "$(tail -n 1 "$OUT")"
}

# Nothing translates: the processes are there, and have other ids.
without_agent() {
  cat >without_agent.py <<'SCRIPT'
import os
from checks import expect, finish, wait_for
told, tell = os.pipe()
child = os.fork()
if child == 0:
    wait_for("go")
    os.write(tell, b"x")
    os._exit(5)
me = os.getpid()
print("ready", flush=True)
wait_for("go")
os.read(told, 1)
expect("whether the id is the old one", os.getpid() == me, False)
expect("the status of the child", os.wait()[1], 5 << 8)
finish()
SCRIPT
  start_run --name without_agent --no-agent -- "$PYTHON" without_agent.py
  wait_for_line "$OUT" '^ready$'
  checkpoint without_agent
  kill9_family
  recover without_agent -v --pids new
  wait_for_line "$ERR" "resumed without_agent@"
  expect_eq "lines that say who sees new ids" 1 "$(grep -c 'see their new ids.*python3' "$ERR")"
  touch go
  expect_exit 0
}

if (( $# == 0 )); then
  set -- calls shell executes waits_in_libc without_agent
  (( EUID != 0 )) || set -- "$@" newborn
fi
for row; do
  mkdir "$WORK/$row"
  cd "$WORK/$row" || exit
  write_checks
  "$row"
  cd "$WORK" || exit
  echo "$row: as it has to be"
done
