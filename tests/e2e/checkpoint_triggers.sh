#!/usr/bin/env bash
# Checkpoints on a period, on a signal, and on SIGTERM; suspend; and what ckptrun's exit status says then.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version_exists() { [[ -n $(find "$CKPT_STORE/$1" -name "v*$2.ckpt" 2>/dev/null) ]]; }

resumes_and_ends() {
  recover "$1"
  wait_for_line "$OUT" '^count '
  touch go
  expect_exit 0
  expect_eq "last word of $1" ok "$(tail -n 1 "$OUT")"
  rm go
}

start_counts() {
  start_run "$@" -- "$(program counts)" "$WORK/go"
  wait_for_line "$OUT" '^count '
}

start_counts --name period --every 100ms
wait_until "two checkpoints" version_exists period 2
kill9_program
resumes_and_ends period

start_counts --name signal --on-signal USR1
kill -USR1 "$RUN_PID"
wait_until "a checkpoint on a signal" version_exists signal 1
wait_for_growth "$OUT"
kill -USR1 "$RUN_PID"
wait_until "another" version_exists signal 2
kill9_both
# The next run does on that signal what the last one did.
recover signal
wait_for_line "$OUT" '^count '
kill -USR1 "$RUN_PID"
wait_until "a checkpoint of the recovered program" version_exists signal 3
kill9_program
resumes_and_ends signal

for signal in TERM HUP; do
  start_counts --name "save-$signal" --on-term save
  kill -"$signal" "$RUN_PID"
  expect_exit 75
  version_exists "save-$signal" 1 || fail "no version after SIG$signal"
  expect_match "state" 'suspended' "$(ckpt list)"
  resumes_and_ends "save-$signal"
done

start_counts --name pass
kill -TERM "$RUN_PID"
expect_exit 143
expect_refusal 125 'pass.*--every' "$CKPT_BIN/ckptrun" --recover pass

start_counts --name paused
find_program_pid
ckpt suspend paused
expect_exit 75
process_is_gone "$PROGRAM_PID" || fail "the suspended program still runs"
last=$(grep -c '^count ' "$OUT")
recover paused
wait_for_line "$OUT" '^count '
expect_eq "first count after a suspend" "$((last + 1))" "$(sed -n 's/^count //p' "$OUT" | head -n 1)"
touch go
expect_exit 0

# Who asks for a checkpoint before the program is there again waits for it.
is_held() { ckpt list | grep -q '^early .*running'; }
start_run --name early -- "$(program holds_256_mib)" 64 "$WORK/go.early"
wait_for_line "$OUT" '^count '
checkpoint early
kill9_program
recover early --eager
wait_until "ckptrun to have the application" is_held
checkpoint early
touch go.early
expect_exit 0
