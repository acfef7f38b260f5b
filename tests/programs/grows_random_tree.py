"""A tree of processes that changes at random, with a model of what must hold: who is whose child, in which process group
and session, who has ended how and was not waited for, who is stopped, what waits in a pipe that all share, where an
offset that all share stands, and what all have counted in shared memory.

Takes a seed, the name of a file to write, and the go file. Prints "ready" after a first check, then "step N" after every
further one; "ok" when the go file exists, or what differs from the model.
"""
import mmap
import os
import random
import signal
import struct
import sys
import time

SLOTS = 10
REPLY = struct.Struct("<6q")

seed, path, go_file = int(sys.argv[1]), sys.argv[2], sys.argv[-1]
rng = random.Random(seed)
counter = mmap.mmap(-1, 4096)
commands = [os.pipe() for _ in range(SLOTS)]
replies = os.pipe()
data = os.pipe()
shared_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
ROOT = -1


class Member:
    def __init__(self, slot, pid, parent, group, session):
        self.slot, self.pid, self.parent, self.group, self.session = slot, pid, parent, group, session
        self.stopped = False
        self.led = False  # a group, in which others may still be when it has left


def reply(slot, *values):
    os.write(replies[1], REPLY.pack(slot, *(list(values) + [0] * (5 - len(values)))))


def serve(slot):
    """What a member does; returns only in a child that it has made, as that child's slot."""
    while True:
        command, *arguments = struct.unpack("<c2q", os.read(commands[slot][0], 17))
        if command == b"f":
            child = os.fork()
            if child == 0:
                slot = arguments[0]
                continue
            reply(slot, child)
        elif command == b"i":
            struct.pack_into("<q", counter, 0, struct.unpack_from("<q", counter, 0)[0] + 1)
            reply(slot, os.getpid(), os.getppid(), os.getpgrp(), os.getsid(0))
        elif command == b"w":
            reply(slot, *os.waitpid(arguments[0], 0))
        elif command == b"k":
            os.waitid(os.P_PID, arguments[0], os.WEXITED | os.WNOWAIT)
            reply(slot)
        elif command == b"g":
            os.setpgid(0, arguments[0])
            reply(slot)
        elif command == b"s":
            os.setsid()
            reply(slot)
        elif command == b"p":
            reply(slot, os.write(data[1], bytes([arguments[1]]) * arguments[0]))
        elif command == b"o":
            reply(slot, os.write(shared_file, b"x" * arguments[0]))
        elif command == b"x":
            reply(slot)
            os._exit(arguments[0])


def order(member, command, *arguments):
    os.write(commands[member.slot][1], struct.pack("<c2q", command, *(list(arguments) + [0] * (2 - len(arguments)))))


def ask(member, command, *arguments):
    order(member, command, *arguments)
    slot, *values = REPLY.unpack(os.read(replies[0], REPLY.size))
    expect("who answers", slot, member.slot)
    return values


def expect(what, found, wanted):
    if found != wanted:
        print(f"DIFFERS {what}: {found} instead of {wanted}", flush=True)
        sys.exit(1)


class Tree:
    def __init__(self):
        self.alive = {}   # by slot
        self.ended = []   # (parent slot, pid, wait status)
        self.counted = 0
        self.waiting = b""
        self.offset = 0
        self.group, self.session = os.getpgrp(), os.getsid(0)

    # The program's own may be another one by now, and again another one by the time that the answer is read.
    def expect_ours(self, what, found, model, of_program, before, current):
        ours = model == of_program and found != model
        expect(what, found, (before if found == before else current) if ours else model)

    def check(self):
        for member in self.alive.values():
            if member.stopped:
                continue
            own_group, own_session = os.getpgrp(), os.getsid(0)
            pid, parent, group, session, _ = ask(member, b"i")
            self.counted += 1
            expect("an id", pid, member.pid)
            if member.parent is not None:
                expect(f"the parent of {pid}", parent, self.pid_of(member.parent))
            self.expect_ours(f"the group of {pid}", group, member.group, self.group, own_group, os.getpgrp())
            self.expect_ours(f"the session of {pid}", session, member.session, self.session, own_session, os.getsid(0))
        expect("the counter", struct.unpack_from("<q", counter, 0)[0], self.counted)
        expect("the offset", os.lseek(shared_file, 0, os.SEEK_CUR), self.offset)

    def pid_of(self, slot):
        return os.getpid() if slot == ROOT else self.alive[slot].pid

    def free_slot(self):
        return next((slot for slot in range(SLOTS) if slot not in self.alive), None)

    def has_children(self, slot):
        return any(member.parent == slot for member in self.alive.values()) or any(e[0] == slot for e in self.ended)

    def working(self):
        return [member for member in self.alive.values() if not member.stopped]

    def fork(self):
        slot = self.free_slot()
        if slot is None:
            return
        makers = self.working()
        maker = rng.choice(makers + [None])
        if maker is None:
            pid = os.fork()
            if pid == 0:
                serve(slot)
            self.alive[slot] = Member(slot, pid, ROOT, self.group, self.session)
        else:
            pid = ask(maker, b"f", slot)[0]
            self.alive[slot] = Member(slot, pid, maker.slot, maker.group, maker.session)

    def forget(self, member, status):
        del self.alive[member.slot]
        for child in self.alive.values():
            if child.parent == member.slot:
                child.parent = None
        self.ended = [ended for ended in self.ended if ended[0] != member.slot]
        if member.parent is not None:
            self.ended.append((member.parent, member.pid, status))

    def end(self):
        if self.working():
            member = rng.choice(self.working())
            status = rng.randrange(100)
            ask(member, b"x", status)
            self.forget(member, status << 8)

    # Its successor gets its pipe, and must not meet it there: its parent sees it dead first.
    def kill(self):
        candidates = [m for m in self.alive.values()
                      if m.parent is not None and (m.parent == ROOT or not self.alive[m.parent].stopped)]
        if candidates:
            member = rng.choice(candidates)
            number = rng.choice([signal.SIGKILL, signal.SIGTERM] if not member.stopped else [signal.SIGKILL])
            os.kill(member.pid, number)
            if member.parent == ROOT:
                os.waitid(os.P_PID, member.pid, os.WEXITED | os.WNOWAIT)
            else:
                ask(self.alive[member.parent], b"k", member.pid)
            self.forget(member, int(number))

    def wait(self):
        waiters = [e for e in self.ended if e[0] == ROOT or not self.alive[e[0]].stopped]
        if not waiters:
            return
        parent, pid, status = ended = rng.choice(waiters)
        found = os.waitpid(pid, 0) if parent == ROOT else tuple(ask(self.alive[parent], b"w", pid)[:2])
        expect(f"what {parent} is told of {pid}", found, (pid, status))
        self.ended.remove(ended)

    def lead_group(self):
        candidates = [m for m in self.working() if m.session != m.pid]
        if candidates:
            member = rng.choice(candidates)
            ask(member, b"g", 0)
            member.group = member.pid
            member.led = True

    def join_group(self):
        pairs = [(m, o) for m in self.working() for o in self.alive.values()
                 if m is not o and m.session == o.session and m.session != m.pid and o.group == o.pid]
        if pairs:
            member, other = rng.choice(pairs)
            ask(member, b"g", other.pid)
            member.group = other.pid

    # Its children would stay behind in a session that none of their ancestors is in.
    def lead_session(self):
        candidates = [m for m in self.working() if not m.led and not self.has_children(m.slot)]
        if candidates:
            member = rng.choice(candidates)
            ask(member, b"s")
            member.group = member.session = member.pid
            member.led = True

    def stop(self):
        if len(self.working()) > 1:
            member = rng.choice(self.working())
            os.kill(member.pid, signal.SIGSTOP)
            member.stopped = True
            time.sleep(0.005)

    def go_on(self):
        stopped = [member for member in self.alive.values() if member.stopped]
        if stopped:
            member = rng.choice(stopped)
            os.kill(member.pid, signal.SIGCONT)
            member.stopped = False

    def write(self):
        if self.working() and len(self.waiting) < 30000:
            count, byte = rng.randrange(1, 3000), rng.randrange(256)
            expect("bytes written", ask(rng.choice(self.working()), b"p", count, byte)[0], count)
            self.waiting += bytes([byte]) * count

    def read(self):
        if self.waiting:
            count = rng.randrange(1, len(self.waiting) + 1)
            expect("bytes in the pipe", os.read(data[0], count), self.waiting[:count])
            self.waiting = self.waiting[count:]

    def append(self):
        if self.working():
            count = rng.randrange(1, 500)
            self.offset += ask(rng.choice(self.working()), b"o", count)[0]

    def step(self):
        rng.choice([self.fork] * 4 + [self.end, self.kill, self.wait, self.wait, self.lead_group, self.join_group,
                                      self.lead_session, self.stop, self.go_on, self.go_on, self.write, self.read,
                                      self.append])()

    def finish(self):
        for member in self.alive.values():
            os.kill(member.pid, signal.SIGKILL)


# What the kernel sends to a group with stopped members that loses its last tie with the session, with a SIGCONT.
signal.signal(signal.SIGHUP, signal.SIG_IGN)
tree = Tree()
for _ in range(20):
    tree.step()
tree.check()
print("ready", flush=True)
number = 0
while not os.path.exists(go_file):
    tree.step()
    tree.check()
    number += 1
    print("step", number, flush=True)
    time.sleep(0.01)
tree.finish()
print("ok", flush=True)
