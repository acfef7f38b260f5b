#!/usr/bin/env bash
# What --pids promises about process and thread ids (for those that are translated, see new_ids_stay_unseen.sh), mutexes that remember their owner, timers of threads; and that no
# process of ours is left behind, whoever dies first.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

name=ids
owners=$(program keeps_mutex_owners)

# start_owners [OPTION]: until all mutexes are held and waited for.
start_owners() {
  rm -f go
  start_run --name "$name" "$@" -- "$owners" "$WORK/go"
  wait_for_line "$OUT" '^ready$'
  before=$(sed -n 's/^before: //p' "$OUT")
}

# expect_owners same|new: the program finds everything in order, and its ids as they were or not.
expect_owners() {
  touch go
  wait_run
  expect_eq "last line of the program: $(cat "$OUT" "$ERR")" ok "$(tail -n 1 "$OUT")"
  expect_eq "exit status" 0 "$RUN_STATUS"
  after=$(sed -n 's/^after: //p' "$OUT")
  if [[ $1 == same ]]; then expect_eq "ids" "$before" "$after"; else expect_differs "$before" "$after"; fi
}

expect_differs() {
  [[ $1 != "$2" ]] || fail "the ids are the old ones: $2"
}

# Processes of ours that carry this script's mark, the first ones of namespaces among them.
no_process_left() { [[ -z $(marked_pids) ]]; }
expect_nothing_left() { wait_until "the end of all processes: $(marked_pids)" no_process_left; }

find_init() {
  local pid
  for pid in $(marked_pids); do
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == ckpt-init ]] || continue
    INIT_PID=$pid
    return 0
  done
  return 1
}
find_init_pid() { wait_until "the first process of the namespace" find_init; }

resumed() { wait_for_line "$ERR" "resumed $name@"; }

# --- the old ids, or none
start_owners
checkpoint "$name"
kill9_program
if (( EUID == 0 )); then
  recover "$name" --pids keep
  expect_owners same
  start_owners
  checkpoint "$name"
  kill9_program
  old_pid=${before#process }
  old_pid=${old_pid%% *}
  "$(program holds_process_id)" "$old_pid" >held &
  holder=$!
  wait_for_line held "^holds $old_pid\$"
  expect_refusal 125 "old process id $old_pid cannot be had.*--pids namespace" "$CKPT_BIN/ckptrun" --recover "$name" --pids keep
  kill -KILL "$holder"
  wait "$holder" 2>/dev/null || true
else
  expect_refusal 125 "old process id .* cannot be had.*--pids namespace" "$CKPT_BIN/ckptrun" --recover "$name" --pids keep
fi
expect_nothing_left
echo "keep: the old ids, or one line that says why not"

# --- new ids, which the program does not see where the agent is there, also in the second generation
expect_ids_told() {
  grep -q 'instead of .* held mutexes that were told: [1-9]' "$ERR" || fail "the new ids were not told: $(cat "$ERR")"
}
recover "$name" -v --pids new
resumed
expect_ids_told
checkpoint "$name"
kill9_program
recover "$name" --pids new
expect_owners same
expect_ids_told
expect_nothing_left
echo "new: $before stayed"

start_owners --no-agent
checkpoint "$name"
kill9_program
recover "$name" --pids new
expect_owners new
expect_ids_told
expect_nothing_left
echo "new, without the agent: $before became $after"

# --- a namespace, over several generations
start_owners
checkpoint "$name"
kill9_program
for generation in 1 2 3 4 5; do
  recover "$name" -v --pids namespace
  resumed
  checkpoint "$name"
  kill9_program
  expect_eq "exit status after kill -9 in a namespace" 137 "$RUN_STATUS"
  expect_nothing_left
done
recover "$name" --pids namespace
expect_owners same
expect_nothing_left
echo "namespace: the old ids in $generation generations"

# --- exit status and deaths in a namespace
cat >ends.py <<'EOF'
import os, sys, time
print("ready", flush=True)
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
child = os.fork()
if child == 0:  # outlives its parent
    while os.path.exists(sys.argv[1]): time.sleep(0.01)
    open("orphan-ended", "w").close()
    os._exit(0)
sys.exit(42)
EOF
rm -f go
start_run --name ends -- "$PYTHON" ends.py "$WORK/go"
wait_for_line "$OUT" '^ready$'
checkpoint ends
kill9_program
recover ends -v --pids namespace
wait_for_line "$ERR" 'resumed ends@'
touch go
expect_exit 42
rm go
wait_until "the orphan's own end" test -e orphan-ended
expect_nothing_left
echo "namespace: exit status of the program, and an orphan that lives on"

recover ends@1 -v --pids namespace
wait_for_line "$ERR" 'resumed ends@'
find_program_pid
find_init_pid
kill9_supervisor
kill -0 "$PROGRAM_PID" || fail "the program died with its supervisor"
kill -0 "$INIT_PID" || fail "the first process of the namespace died with the supervisor"
expect_refusal 125 "running" "$CKPT_BIN/ckptrun" --recover ends@1
kill -KILL "$PROGRAM_PID"
expect_nothing_left
echo "namespace: lives on without its supervisor, and ends with the program"

recover ends@1 -v --pids namespace
wait_for_line "$ERR" 'resumed ends@'
find_init_pid
kill -KILL "$INIT_PID"
expect_exit 137
expect_nothing_left
echo "namespace: ends with its first process"

# --- a failure when all is built: the record of the run cannot be written
start_owners
checkpoint "$name"
kill9_program
mkdir "$CKPT_STORE/$name/running"
for pids in auto namespace new; do
  expect_refusal 125 "running" timeout "$CKPT_TEST_DEADLINE" "$CKPT_BIN/ckptrun" --recover "$name" --pids "$pids"
  expect_nothing_left
done
rmdir "$CKPT_STORE/$name/running"
recover "$name" --pids namespace
expect_owners same
echo "a failed restore leaves nothing behind"
