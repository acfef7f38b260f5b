"""Sets its terminal as a full-screen program does, and says ok when the terminal is set so after the go file came.

Usage: keeps_terminal_modes.py READY_FILE GO_FILE
"""
import os
import sys
import termios
import time
import tty

ready_file, go_file = sys.argv[1:]
terminal = sys.stdin.fileno()
tty.setraw(terminal)
modes = termios.tcgetattr(terminal)
modes[6][termios.VERASE] = b"#"
termios.tcsetattr(terminal, termios.TCSANOW, modes)
open(ready_file, "w").close()
while not os.path.exists(go_file):
    time.sleep(0.01)
now = termios.tcgetattr(terminal)
same = now[:4] == modes[:4] and now[6] == modes[6]
termios.tcsetattr(terminal, termios.TCSADRAIN, modes)
sys.stdout.write("ok\r\n" if same else f"{now} instead of {modes}\r\n")
