#!/usr/bin/env bash
# Shells, pipelines and pools of workers are checkpointed as one, killed at one instant, and recovered.
#
#   process_trees.sh [ROW...]
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure
generations=3

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
    recover pipeline -v
    wait_for_line "$ERR" "resumed pipeline@$generation "
    sleep 0.1  # a little further than the version that it came from
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
  local generation
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint relations
    kill9_family
    recover relations -v
    wait_for_line "$ERR" "resumed relations@$generation "
  done
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
  rm go
  local method=fork generation
  start_run --name pool -- python3 pool.py "$method"
  wait_for_lines "$ERR" 2
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint pool
    kill9_family
    recover pool -v
    wait_for_line "$ERR" "resumed pool@$generation "
    sleep 0.1  # a little further than the version that it came from
  done
  touch go
  expect_exit 0
  cmp wanted "$OUT"
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

# Memory that children have in common with their parent since fork is stored once.
copies() {
  cat >copies.py <<'SCRIPT'
import os, time

held = os.urandom(48 << 20)

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)

def fork():
    child = os.fork()
    if child == 0:
        wait_for("go")
        os._exit(held[-1])
    return child

children = [fork() for _ in range(3)]
print("ready", flush=True)
wait_for("more")
children.append(fork())
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
  expect_match "what the recover says of it" 'had in common since fork is each one.s own now: [0-9]+ MiB more' "$(cat "$ERR")"
  expect_eq "what the parent finds" True "$(tail -n 1 "$OUT")"
}

if (( $# == 0 )); then set -- pipeline relations pool short_lived copies; fi
for row; do
  mkdir "$WORK/$row"
  cd "$WORK/$row" || exit
  "$row"
  cd "$WORK" || exit
  echo "$row: as if it had not been recovered"
done
