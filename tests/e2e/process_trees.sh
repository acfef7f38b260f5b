#!/usr/bin/env bash
# Shells, pipelines and pools of workers are checkpointed as one, killed at one instant, and recovered.
#
#   process_trees.sh [new_ids] [ROW...]
#
# With new_ids under ids that the processes do not know, and under those again (--pids).
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure
generations=3
pids=(auto auto auto)
if [[ ${1:-} == new_ids ]]; then
  pids=(new auto new)
  shift
fi

# recover_generation NAME GENERATION
recover_generation() {
  recover "$1" -v --pids "${pids[$2 - 1]}"
  wait_for_line "$ERR" "resumed $1@$2 "
  if grep -q 'see their new ids' "$ERR"; then fail "$(cat "$ERR")"; fi
  sleep 0.1  # a little further than the version that it came from
}

go_through_generations() {
  local generation
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint "$1"
    kill9_family
    recover_generation "$1" "$generation"
  done
}

# stays_as_it_is NAME: what NAME.py has set up when it prints "ready" goes through the generations; then there is the
# file `go`, and it ends by itself.
stays_as_it_is() {
  start_run --name "$1" -- python3 "$1.py"
  wait_for_line "$OUT" '^ready$'
  go_through_generations "$1"
  touch go
  expect_exit 0
}

# processes.py, which the rows' programs import.
write_processes() {
  cat >processes.py <<'SCRIPT'
import os, time

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

def fork(work, status=0):
    child = os.fork()
    if child == 0:
        work()
        os._exit(status)
    return child
SCRIPT
}

# prints_by_both_methods SCRIPT TEXT: of Python's multiprocessing.
prints_by_both_methods() {
  local method
  for method in fork spawn; do
    rm -f go
    start_run --name "$1.$method" -- python3 "$1.py" "$method"
    wait_for_lines "$ERR" 2
    go_through_generations "$1.$method"
    touch go
    expect_exit 0
    expect_eq "what $1.py prints ($method)" "$2" "$(cat "$OUT")"
  done
}

# What goes through the pipes comes out as if nothing had happened.
pipeline() {
  cat >pipeline <<'SCRIPT'
#!/usr/bin/env bash
# A marker of how far it is, on standard error, which no part of the result is.
{ seq 1 300000; until [[ -e go ]]; do sleep 0.02; done; } | while read -r n; do
  ((n % 500)) || echo "$n"
  ((n % 20000)) || echo "at $n" >&2
done | tee "$1.all" | sort -rn | sha256sum >"$1.sum"
{ (cd / && pwd); echo "here $(seq 1 3 | wc -l)"; } >"$1.rest"
SCRIPT
  chmod +x pipeline
  touch go
  ./pipeline wanted 2>wanted.steps
  rm go
  start_run --name pipeline -- ./pipeline got
  wait_for_lines "$ERR" 2
  local generation
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint pipeline
    if (( generation == 1 )); then
      expect_match "the tree that ckpt show prints" 'processes +[4-9]' "$(ckpt show pipeline)"
      expect_match "the tree that ckpt show prints" "  [0-9]+ bash" "$(ckpt show pipeline)"
    fi
    kill9_family
    recover_generation pipeline "$generation"
  done
  touch go
  expect_exit 0
  cmp wanted.all got.all
  cmp wanted.sum got.sum
  cmp wanted.rest got.rest
}

# Groups and sessions whose leaders are gone, orphans, children that have ended: all is as the shell left it.
relations() {
  cat >relations <<'SCRIPT'
#!/usr/bin/env bash
( sleep 1000 & echo $! >orphan )
( setsid bash -c 'sleep 1000 & echo $! >abandoned; exec sleep 0.01' & )
bash -c 'exit 37' & ended=$!
bash -c 'kill -9 $$' & killed=$!
set -m
sleep 1000 & job=$!
sleep 0.01 | sleep 1000 & last=$!
leader=$(jobs -p %%)
set +m
trap 'echo trapped' USR1
while [[ ! -s orphan || ! -s abandoned || -d /proc/$leader/exe ]]; do sleep 0.01; done
sleep 0.2
echo ready
while [[ ! -e go ]]; do sleep 0.02; done
wait $ended; echo "ended $?"
wait $killed; echo "killed $?"
kill $job; wait $job; echo "job $?"
kill -TERM -- -$leader; wait $last; echo "group $?"
kill "$(cat orphan)"; echo "orphan $?"
kill "$(cat abandoned)"; echo "abandoned $?"
kill -USR1 $$
SCRIPT
  chmod +x relations
  start_run --name relations -- ./relations
  wait_for_line "$OUT" '^ready$'
  go_through_generations relations
  touch go
  expect_exit 0
  expect_eq "what the shell says" 'ended 37;killed 137;job 143;group 143;orphan 0;abandoned 0;trapped;' \
    "$(tr '\n' ';' <"$OUT")"
}

# Workers, queues between them, and memory that they share.
pool() {
  cat >pool.py <<'SCRIPT'
import multiprocessing, os, sys, time

def work(number):
    total = 0
    for i in range(3000):
        total = (total * 31 + i * number) % 1000003
    return total

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    queue = context.Queue()
    counter = context.Value("q", 0)
    with context.Pool(3) as pool:
        for number, total in enumerate(pool.imap(work, range(2500), 3)):
            queue.put(total)
            with counter.get_lock():
                counter.value += number
            if number % 50 == 0:
                print("at", number, file=sys.stderr, flush=True)
        while not os.path.exists("go"):
            pool.apply(time.sleep, (0.02,))
    print(sum(queue.get() for _ in range(2500)), counter.value)
SCRIPT
  touch go
  python3 pool.py fork >wanted 2>/dev/null
  prints_by_both_methods pool "$(cat wanted)"
}

# A server that workers keep their state in, beside memory that has a name.
managed() {
  cat >managed.py <<'SCRIPT'
import multiprocessing, os, struct, sys, time
from multiprocessing import shared_memory

ROUNDS = 400

def work(number, entries, name):
    block = shared_memory.SharedMemory(name=name)
    for i in range(1, ROUNDS + 1):
        before = struct.unpack_from("q", block.buf, number * 8)[0]
        if (before, entries.get(number, 0)) != (i - 1, i - 1):
            print("worker", number, "finds", before, entries.get(number, 0), "in round", i, flush=True)
        struct.pack_into("q", block.buf, number * 8, i)
        entries[number] = i
        if number == 0 and i % 20 == 0:
            print("at", i, file=sys.stderr, flush=True)
        while i == ROUNDS - 1 and not os.path.exists("go"):
            time.sleep(0.01)
    block.close()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    block = shared_memory.SharedMemory(create=True, size=4096)
    with context.Manager() as manager:
        entries = manager.dict()
        workers = [context.Process(target=work, args=(n, entries, block.name)) for n in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print(sorted(entries.items()), struct.unpack_from("qqq", block.buf))
    block.close()
    block.unlink()
SCRIPT
  prints_by_both_methods managed '[(0, 400), (1, 400), (2, 400)] (400, 400, 400)'
}

# Children that end while they are being stopped, by themselves or killed: their parents learn of each, and no
# checkpoint fails for it.
short_lived() {
  cat >short_lived.py <<'SCRIPT'
import os, signal, threading

statuses = []

def start_and_wait():
    for number in range(250):
        child = os.fork()
        if child == 0:
            if number % 3 == 0:
                signal.pause()
            os._exit(number % 100)
        if number % 3 == 0:
            os.kill(child, signal.SIGKILL)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

threads = [threading.Thread(target=start_and_wait) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(statuses), statuses.count(-signal.SIGKILL), sum(status for status in statuses if status > 0))
SCRIPT
  python3 short_lived.py >wanted
  start_run --name short_lived --every 20ms -- python3 short_lived.py
  expect_exit 0
  cmp wanted "$OUT"
  if grep -q 'checkpoint failed' "$ERR"; then fail "$(cat "$ERR")"; fi
}

# A program that executes another one while its memory is looked at is looked at anew.
executes_others() {
  cat >executes_others <<'SCRIPT'
#!/usr/bin/env bash
(( $1 % 50 )) || echo "$1 to go" >&2
(( $1 == 0 )) || exec "$0" $(( $1 - 1 ))
echo "the last one"
SCRIPT
  chmod +x executes_others
  start_run --name executes_others --every 10ms -- ./executes_others 600
  wait_for_line "$ERR" '^400 to go$'
  kill9_family
  if grep -q 'checkpoint failed' "$ERR"; then fail "$(cat "$ERR")"; fi
  recover executes_others --every 10ms
  expect_exit 0
  expect_eq "what the last program says" "the last one" "$(cat "$OUT")"
  if grep -q 'checkpoint failed' "$ERR"; then fail "$(cat "$ERR")"; fi
}

# Memory that children have in common with their parent since fork is stored once, and is in common again.
copies() {
  cat >copies.py <<'SCRIPT'
import os
from processes import fork, wait_for

held = os.urandom(48 << 20)

def fork_one():
    return fork(lambda: wait_for("go"), held[-1])

children = [fork_one() for _ in range(3)]
print("ready", flush=True)
wait_for("more")
children.append(fork_one())
print("more", flush=True)
wait_for("go")
print(all(os.waitpid(child, 0)[1] >> 8 == held[-1] for child in children), flush=True)
SCRIPT
  start_run --name copies -- python3 copies.py
  wait_for_line "$OUT" '^ready$'
  checkpoint copies
  touch more
  wait_for_line "$OUT" '^more$'
  checkpoint copies
  expect_eq "versions that hold the memory more than once" '' "$(ckpt stats copies --json \
    | json '*(version for version, most in zip(data["versions"], (80 << 20, 30 << 20)) if version["bytes_written"] > most)')"
  kill9_family
  recover copies
  touch go
  expect_exit 0
  expect_eq "what the recover says of it" '' "$(grep 'in common' "$ERR" || true)"
  expect_eq "what the parent finds" True "$(tail -n 1 "$OUT")"
}

# A record lock belongs to one process, also where several share the open file that it was taken by.
locks() {
  cat >locks.py <<'SCRIPT'
import fcntl, os, struct
from processes import wait_for

LOCK = "hhqqi4x"
shared = os.open("locked", os.O_RDWR | os.O_CREAT)
os.ftruncate(shared, 100)

def holder(at):
    asked = fcntl.fcntl(shared, fcntl.F_GETLK, struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))
    kind, _, _, _, pid = struct.unpack(LOCK, asked)
    return (kind, pid)

def fork(number):
    taken, told = os.pipe()
    child = os.fork()
    if child == 0:
        fcntl.lockf(shared, fcntl.LOCK_EX if number else fcntl.LOCK_SH, 3 + number, number * 10)
        os.write(told, b"x")
        wait_for("end")
        os._exit(0)
    os.read(taken, 1)
    return child

fcntl.lockf(shared, fcntl.LOCK_EX, 5, 90)
children = [fork(number) for number in range(3)]
print("ready", flush=True)
wait_for("go")
print([holder(number * 10 + 2) == ((fcntl.F_WRLCK if number else fcntl.F_RDLCK), child)
       for number, child in enumerate(children)], holder(20 + 5)[0] == fcntl.F_UNLCK, flush=True)
if os.fork() == 0:
    print(holder(91) == (fcntl.F_WRLCK, os.getppid()), flush=True)
    os._exit(0)
open("end", "w").close()
for child in range(4):
    os.wait()
print(holder(12)[0] == fcntl.F_UNLCK, flush=True)
SCRIPT
  stays_as_it_is locks
  expect_eq "what the processes find locked" 'True;True;[True, True, True] True;' "$(LC_ALL=C sort "$OUT" | tr '\n' ';')"
}

# Processes that have gone round, each from the group that it led into the next one's.
gone_round() {
  cat >gone_round.py <<'SCRIPT'
import os
from processes import fork, wait_for

COUNT = 6

def fork_leader():
    child = fork(lambda: wait_for("go"))
    os.setpgid(child, child)
    return child

members = [fork_leader() for _ in range(COUNT)]
groups = members[1:] + members[:1]
keeper = fork(lambda: wait_for("moved"))
os.setpgid(keeper, members[1])
for member, group in zip(members[1:] + members[:1], groups[1:] + groups[:1]):
    os.setpgid(member, group)
open("moved", "w").close()
os.waitpid(keeper, 0)
print("ready", flush=True)
wait_for("go")
print([os.getpgid(member) for member in members] == groups, flush=True)
for member in members:
    os.waitpid(member, 0)
SCRIPT
  stays_as_it_is gone_round
  expect_eq "whether all are in their groups" True "$(cat "$OUT")"
}

# Children that are in the session which their parent has left: one has ended, but leads the group of a running one; another
# leads a session itself, and has left a child there, too.
stayed_behind() {
  cat >stayed_behind.py <<'SCRIPT'
import os, time
from processes import fork, wait_for

def tell(name, pid):
    with open(name + ".new", "w") as file:
        file.write(str(pid))
    os.rename(name + ".new", name)

def ask(name):
    wait_for(name)
    with open(name) as file:
        return int(file.read())

def lead_group_until_joined():
    os.setpgid(0, 0)
    tell("leader", os.getpid())
    wait_for("joined")

def leave_child_and_session():
    tell("grandchild", fork(lambda: wait_for("end")))
    os.setsid()
    wait_for("end")

def leave_ended_leader_and_session():
    leader = fork(lead_group_until_joined, 7)
    child = fork(leave_child_and_session)
    os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
    while os.getsid(child) != child:
        time.sleep(0.01)
    os.setsid()
    open("left", "w").close()
    wait_for("end")
    print("ended", os.waitpid(leader, 0)[1] >> 8, "session", os.getsid(child) == child, flush=True)
    os.waitpid(child, 0)

parent = fork(leave_ended_leader_and_session)
member = fork(lambda: wait_for("end"))
os.setpgid(member, ask("leader"))
open("joined", "w").close()
wait_for("left")
print("ready", flush=True)
wait_for("go")
print("sessions", os.getsid(parent) == parent, os.getsid(ask("grandchild")) == os.getsid(member) == os.getsid(0),
      "group", os.getpgid(member) == ask("leader"), flush=True)
open("end", "w").close()
os.waitpid(parent, 0)
os.waitpid(member, 0)
SCRIPT
  stays_as_it_is stayed_behind
  expect_eq "what is as it was" 'ended 7 session True;sessions True True group True;' "$(LC_ALL=C sort "$OUT" | grep -v ready | tr '\n' ';')"
}

# A semaphore that has a name is one for who made it and for who opened it.
semaphores() {
  cat >semaphores.py <<'SCRIPT'
import multiprocessing, os, time

def post(semaphore):
    while not os.path.exists("go"):
        time.sleep(0.01)
    semaphore.release()

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    semaphore = context.Semaphore(0)
    child = context.Process(target=post, args=(semaphore,))
    child.start()
    print("ready", flush=True)
    print(semaphore.acquire(timeout=40), flush=True)
    child.join()
SCRIPT
  start_run --name semaphores -- python3 semaphores.py
  wait_for_line "$OUT" '^ready$'
  sleep 0.2  # until the child has it, too; if not, the test shows less
  go_through_generations semaphores
  touch go
  expect_exit 0
  expect_eq "whether the semaphore was had" True "$(cat "$OUT")"
}

# Orphans, and groups whose leaders were the last processes that were made: when those are made again for a moment,
# nobody has taken their ids.
leaderless() {
  cat >leaderless.py <<'SCRIPT'
import os, time
from processes import fork, wait_for

COUNT = 8

def make_orphans():
    for _ in range(COUNT):
        fork(lambda: wait_for("go"))

os.waitpid(fork(make_orphans), 0)
members = [fork(lambda: wait_for("go")) for _ in range(COUNT)]
go_on = os.pipe()
leaders = [fork(lambda: (os.setpgid(0, 0), os.read(go_on[0], 1))) for _ in members]
for member, leader in zip(members, leaders):
    while os.getpgid(leader) != leader:
        time.sleep(0.001)
    os.setpgid(member, leader)
os.write(go_on[1], b"x" * COUNT)
for leader in leaders:
    os.waitpid(leader, 0)
print("ready", flush=True)
wait_for("go")
print([os.getpgid(member) for member in members] == leaders, flush=True)
for member in members:
    os.waitpid(member, 0)
SCRIPT
  stays_as_it_is leaderless
  expect_eq "whether all are in their groups" True "$(cat "$OUT")"
}

# What outlives the program has no checkpoints any more, and that is said.
left_behind() {
  start_run --name left_behind -- sh -c 'sleep 1000 & sleep 1000 & exit 3'
  expect_exit 3
  expect_match "what is said" 'the program has ended; [a-z]+ \(pid [0-9]+\) and 1 more, which it has left behind' "$(cat "$ERR")"
}

if (( $# == 0 )); then set -- left_behind leaderless gone_round stayed_behind semaphores pipeline relations pool managed short_lived executes_others copies locks; fi
for row; do
  mkdir "$WORK/$row"
  cd "$WORK/$row" || exit
  write_processes
  "$row"
  cd "$WORK" || exit
  echo "$row: as if it had not been recovered"
done
