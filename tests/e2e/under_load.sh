#!/usr/bin/env bash
# A program of 200 threads and a JVM live under a checkpoint every 200 ms: no error, no sleep that ends early; killed at
# the end, both recover.
#
#   CKPT_SECONDS    how long each lives (default: 5, in a soak 60)
#
# timeout: 120
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${CKPT_SECONDS:-$(share_of 60 5)}

differences() { grep -vE '^(ready|count .*)$' "$OUT" || true; }

# lives_under_load NAME COMMAND...
lives_under_load() {
  local name=$1 end
  shift
  start_run --name "$name" --every 200ms -- "$@" "$WORK/go"
  wait_for_line "$OUT" '^count '
  end=$((SECONDS + seconds))
  while (( SECONDS < end )); do wait_for_growth "$OUT"; done
  # A machine that is busy otherwise may not manage five checkpoints a second; that is said, and no error.
  expect_eq "messages of ckptrun" "" "$(grep -v 'checkpoints take longer than the period' "$ERR" || true)"
  expect_match "versions" 'v0*[1-9]' "$(find "$CKPT_STORE/$name" -name 'v*.ckpt')"
  kill9_program
  expect_eq "differences" "" "$(differences)"
  recover "$name"
  wait_for_growth "$OUT"
  touch go
  expect_exit 0
  expect_eq "last word of $name: $(differences)" ok "$(tail -n 1 "$OUT")"
  rm go
  echo "$name: $seconds s under --every 200ms"
}

lives_under_load threads "$(program many_threads_sleep)" 200
lives_under_load java "$JAVA" -cp "$CKPT_PROGRAMS" CountsInJava
