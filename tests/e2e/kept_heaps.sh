#!/usr/bin/env bash
# A program with heaps of vmheap under ckptrun: its checkpoints contain nothing of them, and a recover brings program and
# heaps back to the same instant.
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generations=$(share_of 40 4)

# What a plain opening finds is what the program committed itself, whatever checkpoints have stored.
expect_sound() {
  ckpt heap verify "$1" >verified 2>&1 || fail "heap $1: $(cat verified)"
}

start_run --name kept --every 200ms -v -- "$CKPT_PROGRAMS/keeps_heap" large small
wait_for_line "$OUT" '^ready$'
checkpoint kept
find_program_pid
expect_eq "whose heap it is, as seen from outside" "$PROGRAM_PID True" \
  "$(ckpt heap stat large --json | json 'data["live"]["pid"], data["live"]["missing_faults"] > 0')"
kept=$(ckpt show kept --json | json '" ".join("{}@{}".format(heap["directory"].split("/")[-2], heap["version"]) for heap in data["kept"])')
expect_match "heaps that the version names" '^large@[1-9][0-9]* small@[1-9][0-9]*$' "$kept"
for (( generation = 1; generation <= generations; generation++ )); do
  sleep "0.$(( RANDOM % 9 + 1 ))"
  if (( generation % 2 )); then kill9_family; else kill9_both; fi
  expect_sound large
  pids=auto
  (( generation % 4 != 3 )) || pids=new
  recover kept --every 200ms --pids "$pids" -v
  wait_for_line "$ERR" 'resumed kept@'
  checkpoint kept
done
expect_refusal 125 'open for writing elsewhere' "$CKPT_BIN/ckptrun" --recover kept --clone copy
ckpt suspend kept >suspended
wait_run

# Without a heap nothing comes back, and nothing is lost.
mv small elsewhere
recover kept
expect_exit 125
expect_match "why it is refused" '/small' "$(cat "$ERR")"
mv elsewhere small

recover kept -v
wait_for_line "$ERR" 'resumed kept@'
touch go
expect_exit 0
expect_eq "what the program found" equal "$(tail -n 1 "$OUT")"
expect_sound large
expect_sound small

# What was stored for checkpoints goes with them.
versions_for_checkpoints() { ckpt heap versions large --json | json 'sum(version["of_checkpoint"] for version in data["versions"])'; }
(( $(versions_for_checkpoints) <= generations + 6 )) || fail "$(versions_for_checkpoints) versions of the heap are left for checkpoints"
ckpt rm kept
expect_eq "versions of the heap for checkpoints that are gone" 0 "$(versions_for_checkpoints)"

# Without its ckptrun, killed at any moment, the program goes on; unless it had been stopped with borrowed registers.
rm -rf go large small
start_run --name alone --every 50ms -- "$CKPT_PROGRAMS/keeps_heap" large small
wait_for_line "$OUT" '^ready$'
sleep "0.$(( RANDOM % 9 + 1 ))"
kill9_supervisor
sleep 0.2
touch go
wait_until "the end of the program" process_is_gone "$PROGRAM_PID"
expect_match "what the program found" '^ready( equal)?$' "$(tr '\n' ' ' <"$OUT" | sed 's/ $//')"
echo "$generations generations: heap and program agree"
