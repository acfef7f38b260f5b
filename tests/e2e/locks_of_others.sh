#!/usr/bin/env bash
# A file lock that another process holds by now: --locks says whether a recover fails, waits, or goes on without it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_run --name locked -- "$(program keeps_locks_and_owners)" "$WORK/file" "$WORK/go"
wait_for_line "$OUT" '^ready$'
checkpoint locked
kill9_both

lock_is_held() { ! flock --shared --nonblock file true; }

mkfifo release
flock file cat release &
wait_until "the lock of another process" lock_is_held

expect_refusal 125 'descriptor [0-9]+: it held an exclusive lock \(flock\) of .*/file, which process [0-9]+ .* holds now; .*--locks wait' \
  "$CKPT_BIN/ckptrun" --recover locked
expect_refusal 125 'descriptor [0-9]+: it held' "$CKPT_BIN/ckptrun" --recover locked --locks fail

recover locked -v --locks ignore
wait_for_line "$ERR" 'descriptor [0-9]+ has lost an exclusive lock \(flock\) of .*/file: .* holds it now'
wait_for_line "$ERR" 'resumed locked@1 '
kill9_both

recover locked -v --locks wait
find_program_pid
echo > release
wait_for_line "$ERR" 'resumed locked@1 '
touch go
expect_exit 0
expect_eq "last word" ok "$(tail -n 1 "$OUT")"
