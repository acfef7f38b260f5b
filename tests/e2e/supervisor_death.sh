#!/usr/bin/env bash
# kill -9 of ckptrun: the program lives on undisturbed, and is not recovered a second time while it lives.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_run --name orphan -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
checkpoint orphan
first_out=$OUT
kill9_supervisor
orphan=$PROGRAM_PID
wait_for_growth "$first_out"
expect_refusal 125 "orphan.*still running as pid $orphan;" "$CKPT_BIN/ckptrun" --recover orphan
expect_refusal 125 "orphan.*still running as pid $orphan;" "$CKPT_BIN/ckptrun" --recover orphan@1
expect_refusal 125 "orphan.*still running as pid $orphan;" "$CKPT_BIN/ckptrun" --name orphan -- /bin/true
expect_refusal 125 "orphan.*;" "$CKPT_BIN/ckpt" checkpoint orphan
expect_match "state" "running \(no ckptrun\)" "$(ckpt list)"
wait_for_growth "$first_out"
kill -KILL "$orphan"
wait_until "the end of the program" process_is_gone "$orphan"
recover orphan
wait_for_line "$OUT" '^count '

# A program whose ckptrun died ends by itself as it would have.
checkpoint orphan
out=$OUT
kill9_supervisor
touch go
wait_until "the end of the program" process_is_gone "$PROGRAM_PID"
expect_eq "last word of the orphan" ok "$(tail -n 1 "$out")"

# What the program has started and that outlives both is named.
# shellcheck disable=SC2016 # of the inner shell
start_run --name family -- sh -c '
  "$0" "$1" &
  wait' "$(program counts)" "$WORK/never"
wait_for_line "$OUT" '^count '
checkpoint family
find_program_pid
read -r child <<<"$(children_of "$PROGRAM_PID")"
kill -KILL "$RUN_PID"
wait_run
kill -KILL "$PROGRAM_PID"
wait_until "the end of the program" process_is_gone "$PROGRAM_PID"
recover family
wait_for_line "$ERR" "processes of the run before are still there, .*: $child \\(counts\\)"
kill -KILL "$child"
kill9_family
