"""Runs a command in a terminal of its own and follows instructions from standard input, one per line:

  send TEXT       types TEXT and Return
  key NAME        types ctrl-c, ctrl-z, ctrl-d or ctrl-backslash (ctrl-\\) once a job of the command, a shell, has
                  the terminal
  expect REGEX    waits until new output matches; what matched counts as read
  end             waits until the command has ended

Exits 1, showing what the terminal showed, if something expected does not come within a minute.
"""
import os
import pty
import re
import select
import sys
import time

DEADLINE_SECONDS = 60
KEYS = {"ctrl-c": b"\x03", "ctrl-z": b"\x1a", "ctrl-d": b"\x04", "ctrl-\\": b"\x1c"}


class Terminal:
    def __init__(self, command):
        self.shown = ""
        self.unread = ""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvp(command[0], command)

    def read_more(self, deadline):
        """False at the end of the output."""
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self.master], [], [], left)[0]:
            raise TimeoutError
        try:
            data = os.read(self.master, 65536)
        except OSError:
            data = b""
        text = data.decode(errors="replace").replace("\r", "")
        self.shown += text
        self.unread += text
        return bool(data)

    def expect(self, regex):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            match = re.search(regex, self.unread)
            if match:
                self.unread = self.unread[match.end():]
                return
            if not self.read_more(deadline):
                raise TimeoutError

    def end(self):
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.read_more(deadline):
            pass

    def wait_for_job(self):
        """What a job writes does not tell: it may have been written in the background, before fg."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while os.tcgetpgrp(self.master) == self.pid:
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.01)

    def follow(self, instruction, rest):
        if instruction == "send":
            os.write(self.master, rest.encode() + b"\n")
        elif instruction == "key":
            self.wait_for_job()
            os.write(self.master, KEYS[rest])
        elif instruction == "expect":
            self.expect(rest)
        elif instruction == "end":
            self.end()
        else:
            sys.exit(f"unknown instruction {instruction}")


def main():
    terminal = Terminal(sys.argv[1:])
    for line in sys.stdin.read().splitlines():
        instruction, _, rest = line.partition(" ")
        try:
            terminal.follow(instruction, rest)
        except TimeoutError:
            print(f"not seen: {line}\n--- the terminal's last lines\n{terminal.shown[-2000:]}", file=sys.stderr)
            sys.exit(1)


if __name__ == "__main__":
    main()
