#!/usr/bin/env bash
# Several copies of one version at once: each goes its own way, their checkpoints hold only what they change, and they
# outlive the original.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly SIZE_MIB=64

start_run --name app -- "$PYTHON" -c "
import os, time
memory = os.urandom($SIZE_MIB << 20)
start, count = hash(memory), 0
print('ready', flush=True)
while True:
    count += 1
    print('count', count, hash(memory) == start, flush=True)
    time.sleep(0.05)"
wait_for_line "$OUT" '^count 3 True$'
checkpoint app
kill9_program

bytes_of() { du -s --block-size=1 "$CKPT_STORE" | cut -f 1; }

one=$(bytes_of)
declare -A pids
for copy in a b c; do
  recover app@1 --clone "$copy"
  pids[$copy]=$RUN_PID
  wait_for_line "$OUT" '^count 1[0-9] True$'
  checkpoint "$copy"
done
all=$(bytes_of)
(( all < one + one / 2 )) || fail "three copies and their checkpoints take $all bytes, the original took $one"

ckpt rm app
for copy in a b c; do
  ckpt verify "$copy" >verified
  RUN_PID=${pids[$copy]}
  kill9_program
done

# Also from the version that it began with.
for version in a a@1; do
  recover "$version"
  wait_for_line "$OUT" '^count [0-9]+ True$'
  kill9_both
done

# A copy that has ended by itself, without a checkpoint of its own, leaves its name free.
start_run --name short -- "$PYTHON" -c "
import os, sys
print('ready', flush=True)
while not os.path.exists('go'): pass"
wait_for_line "$OUT" '^ready$'
checkpoint short
kill9_program
touch go
for (( i = 0; i < 2; i++ )); do
  recover short@1 --clone once
  expect_exit 0
  expect_eq "versions that are left" 0 "$(ckpt list once --json | json 'len(data["versions"])')"
done
