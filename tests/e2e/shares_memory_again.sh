#!/usr/bin/env bash
# Memory that parent and children have in common since fork (copy on write) is in common again after a recover: all of
# them together take little more than one of them, in every generation; and what one writes no other sees.
#
#   shares_memory_again.sh [ROW...]
#
# timeout: 240
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure
generations=3
mib=$(share_of 200 48)

# Much data, and workers that read it and change a little of it: one leads a session, one a group, one has a child of its
# own, which has changed some more; one has an epoll instance of its own, one has more memory and less than its parent. A
# child beside them has executed another program.
cat >workers.py <<'SCRIPT'
import hashlib, mmap, os, select, subprocess, sys, time

MIB = 1 << 20
size = int(sys.argv[1]) * MIB
data = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for at in range(0, size, MIB):
    data[at:at + MIB] = os.urandom(MIB)
held = {number: "text %d" % number for number in range(50_000)}  # the interpreter's own heap

def digest():
    return hashlib.blake2b(data).hexdigest(), sum(map(len, held.values()))

start = os.getcwd()

def wait_for(name):
    while not os.path.exists(os.path.join(start, name)):
        time.sleep(0.01)

def change(at, number, pages=64):
    for page in range(pages):
        data[at + page * 4096] = number

def as_worker(name, number, before_end=lambda: None):
    before = digest()
    print("ready", name, flush=True)
    wait_for("change")
    right = digest() == before
    change(7 * MIB, number)
    changed = digest()
    print("changed", name, flush=True)
    wait_for("go")
    right = right and digest() == changed and data[7 * MIB] == number
    before_end()
    print(name, "is right" if right else "is wrong", flush=True)
    os._exit(0)

def fork(work):
    child = os.fork()
    if child == 0:
        work()
    return child

def leads_session():
    change(MIB, 1)
    os.setsid()
    as_worker("session", 1, lambda: os.getsid(0) == os.getpid() or print("in another session"))

def leads_group():
    change(MIB, 2)
    os.setpgid(0, 0)
    os.mkdir("below")
    os.chdir("below")
    os.umask(0o027)
    def is_where_it_was():
        if os.getpgrp() != os.getpid() or os.path.basename(os.getcwd()) != "below" or os.umask(0) != 0o027:
            print("in another group or directory")
    as_worker("group", 2, is_where_it_was)

def has_child():
    change(2 * MIB, 3, 300)
    def grandchild():
        change(3 * MIB, 4)
        as_worker("grandchild", 4)
    child = fork(grandchild)
    as_worker("parent", 3, lambda: os.waitpid(child, 0))

def watches():
    ours, theirs = os.pipe()
    poll = select.epoll()
    poll.register(ours, select.EPOLLIN)
    def sees():
        os.write(theirs, b"x")
        if poll.poll(10) != [(ours, select.EPOLLIN)]:
            print("epoll sees nothing")
    as_worker("epoll", 5, sees)

def has_other_mappings():
    more = mmap.mmap(-1, 2 * MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    more[:] = b"m" * len(more)
    spare.close()
    data.madvise(mmap.MADV_DONTNEED, 4 * MIB, MIB)
    def holds():
        if more[:] != b"m" * len(more) or data[4 * MIB:5 * MIB] != bytes(MIB):
            print("other mappings are wrong")
    as_worker("mappings", 6, holds)

spare = mmap.mmap(-1, MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
spare[:] = b"s" * MIB
other = subprocess.Popen(["sleep", "1000"])
workers = [fork(work) for work in (leads_session, leads_group, has_child, watches, has_other_mappings)]
before = digest()
print("ready", flush=True)
wait_for("change")
right = digest() == before
change(7 * MIB, 7)
changed = digest()
print("changed", flush=True)
wait_for("go")
for worker in workers:
    status = os.waitpid(worker, 0)[1]
    if status != 0:
        print("a worker has failed, status", status)
right = right and digest() == changed
other.terminate()
other.wait()
print("the program is", "right" if right else "wrong", flush=True)
SCRIPT
processes=7

# What all take together, in MiB: memory that several have in common counts once.
taken_together() {
  local pid
  for pid in $(family_of "$RUN_PID"); do
    [[ $(readlink "/proc/$pid/exe") != */python3* ]] || cat "/proc/$pid/smaps_rollup"
  done | awk '/^Pss_Anon:/ { total += $2 } END { print int(total / 1024) }'
}

# One copy, what they have changed since, and what each interpreter has of its own, or counts references in.
expect_shared() {
  local taken
  taken=$(taken_together)
  (( taken >= mib - 2 && taken < mib + 12 * processes )) ||
    fail "$1: $processes processes with $mib MiB in common take $taken MiB"
}

go_through_generations() {
  local generation
  start_run --name "$1" -- "$PYTHON" workers.py "$mib"
  wait_for_lines "$OUT" "$processes"
  expect_shared "before the first checkpoint"
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint "$1"
    expect_shared "after checkpoint $generation"
    kill9_family
    recover "$1" -v "${@:2}"
    wait_for_line "$ERR" "resumed $1@$generation "
    expect_match "what the recover says" ', [1-9][0-9.]* [MG]iB in common since fork' "$(cat "$ERR")"
    if grep -q 'had in common since fork' "$ERR"; then fail "$(cat "$ERR")"; fi
  done
  checkpoint "$1"  # waits until all memory has come
  expect_shared "after $generations generations"
  touch change
  wait_for_lines "$OUT" "$processes"
  expect_shared "after all have changed some more"
  touch go
  expect_exit 0
  expect_eq "what they find" "changed
changed epoll
changed grandchild
changed group
changed mappings
changed parent
changed session
epoll is right
grandchild is right
group is right
mappings is right
parent is right
session is right
the program is right" "$(sort "$OUT")"
}

# A child that has one which has ended and was not waited for is built by itself; and that is said.
cat >apart.py <<'SCRIPT'
import os, time

held = os.urandom(80 << 20)

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

child = os.fork()
if child == 0:
    ended = os.fork()
    if ended == 0:
        os._exit(3)
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    print("ready", flush=True)
    wait_for("go")
    os._exit(held[-1] if os.waitpid(ended, 0)[1] >> 8 == 3 else 1)
wait_for("go")
print(os.waitpid(child, 0)[1] >> 8 == held[-1], flush=True)
SCRIPT

apart() {
  start_run --name apart -- "$PYTHON" apart.py
  wait_for_line "$OUT" '^ready$'
  checkpoint apart
  kill9_family
  recover apart
  touch go
  expect_exit 0
  expect_eq "what the parent finds" True "$(cat "$OUT")"
  expect_match "what the recover says" 'had in common since fork is each one.s own now: 8[0-9] MiB more' "$(cat "$ERR")"
}

# ckptrun is killed while it builds them, at system calls all over the recover: nothing is left, and the version is as
# good as before.
recover_to_be_struck() {
  rm -f result
  touch mark
  RUN_UNDER=("$(program kills_at_call)" "$@" "$PWD/mark" "$PWD/result")
  recover struck --eager
  RUN_UNDER=()
}
no_process_left() { [[ -z $(marked_pids) ]]; }
struck() {
  local strikes call count i
  strikes=$(share_of 40 4)
  start_run --name struck -- "$PYTHON" workers.py 16
  wait_for_lines "$OUT" "$processes"
  checkpoint struck
  kill9_family
  recover_to_be_struck count
  touch change
  wait_for_lines "$OUT" "$processes"
  kill9_family
  rm change
  wait_until "the counts" test -e result
  cp result counts
  for call in ptrace-syscall ptrace-cont ptrace-setregs; do
    count=$(awk -v call="$call" '$1 == call { print $2 }' counts)
    for (( i = 1; i <= strikes; i++ )); do
      recover_to_be_struck "$call" $(( (count - 1) * i / (strikes + 1) + 1 )) supervisor
      wait_run
      expect_match "what became of ckptrun at $call" '^struck' "$(cat result)"
      wait_until "the end of all processes" no_process_left
    done
  done
  recover struck
  touch change
  wait_for_lines "$OUT" "$processes"
  touch go
  expect_exit 0
  expect_eq "what they find" "$processes" "$(grep -cE 'is right$' "$OUT")"
}

# As root too, whose processes have their old ids at once otherwise.
in_namespace() { go_through_generations in_namespace --pids namespace; }

# Where all memory is looked through for ids.
under_new_ids() { go_through_generations under_new_ids --pids new; }

eagerly() { go_through_generations eagerly --eager; }
lazily() { go_through_generations lazily --lazy; }

if (( $# == 0 )); then set -- eagerly lazily in_namespace under_new_ids apart struck; fi
for row; do
  mkdir "$WORK/$row"
  cp workers.py apart.py "$WORK/$row"
  cd "$WORK/$row" || exit
  "$row"
  cd "$WORK" || exit
  echo "$row: in common again"
done
