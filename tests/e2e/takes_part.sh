#!/usr/bin/env bash
# A program that takes part in its checkpoints by libckpt: asks for them, is told on which side of one it is, has
# functions run around them, forbids them for a while, and gets new arguments.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

new_orders

# What was ordered after the checkpoint must not be executed by the process that is recovered.
forget_orders_after() {
  local order
  for order in "$ORDERS"/do.*; do
    [[ ${order##*.} -le $1 ]] || rm "$order"
  done
  ORDERS_GIVEN=$1
}

lines() { sed -nE "/$1/p" "$OUT" | tr '\n' ';'; }

# Without ckptrun each call says that it does nothing, and does nothing.
OUT=$WORK/out.alone
"$(program takes_part)" "$ORDERS" >"$OUT" &
alone=$!
order checkpoint '^checkpoint -107$'
order hooks '^hooks -642$'
order disable '^disable -107$'
order generation '^generation 0000000000000000$'
order args '^args 0 none$'
order quit '^ok$'
wait "$alone"
forget_orders_after 0

# Durable means that the version is there when the call returns.
start_run --name part --keep 20 -- "$(program takes_part)" "$ORDERS"
order strange '^strange -22$'
order generation '^generation [0-9a-f]{16}$'
order durable '^durable 0$'
expect_match "applications" '"version": 1' "$(ckpt list --json)"
at_first_checkpoint=$ORDERS_GIVEN
order disable '^disable 0$'
order checkpoint '^checkpoint -35$'
order enable '^enable 0$'
order enable '^enable -22$'

# Functions around a checkpoint, and one that cancels it.
order hooks '^hooks 0$'
order checkpoint '^checkpoint 0$'
wait_for_line "$OUT" '^hook after first$'
expect_eq "functions that ran" 'hook before first;hook before second;hook after second;hook after first;' \
  "$(lines '^hook ')"
wait_until "the second version" test -e "$CKPT_STORE/part/v0000000002.ckpt"
at_second_checkpoint=$ORDERS_GIVEN
touch "$ORDERS/cancel"
order durable '^durable -125$'
wait_for_line "$ERR" 'a function that the program runs before checkpoints returned 3'
expect_refusal 125 'before checkpoints returned 3' "$CKPT_BIN/ckpt" checkpoint part
rm "$ORDERS/cancel"
touch "$ORDERS/quiet"

# No checkpoint is taken in a critical section; each that is wanted comes all the same.
order churn '^churn 0$'
for _ in 1 2 3 4 5 6; do checkpoint part; done
at_last_checkpoint=$ORDERS_GIVEN
kill9_both
forget_orders_after "$at_last_checkpoint"
recover part --eager
order calm '^calm 0$'
order args '^args 0 none$'
expect_eq "critical sections that were recovered" '' "$(lines 'critical')"

# The supervisor is gone: the program lives on, and is told.
kill9_supervisor
order checkpoint '^checkpoint -107$'
order quit '^ok$'
wait_until "the end of the program" process_is_gone "$PROGRAM_PID"
rm "$ORDERS/quiet"

# The other side of a checkpoint, with new arguments and another generation; also as a copy beside itself.
forget_orders_after "$at_second_checkpoint"
recover part@2 -- one 'two words'
wait_for_line "$OUT" '^checkpoint 1$'
expect_eq "functions that ran" 'hook restored second;hook restored first;' "$(lines '^hook ')"
order args '^args 2 \[one\] \[two words\]$'
order generation '^generation [0-9a-f]{16}'
first_generation=$(lines '^generation [0-9a-f]{16}')
original=$RUN_PID original_out=$OUT
start_run --recover part@2 --clone copy -- other
wait_for_line "$OUT" '^checkpoint 1$'
wait_for_line "$OUT" '^args 1 \[other\]$'
wait_for_line "$OUT" '^generation [0-9a-f]{16}'
[[ $first_generation != "$(lines '^generation [0-9a-f]{16}')" ]] || fail "both have $first_generation"
order secret '^secret 0$'
wait_until "the order in the original" grep -q '^secret 77$' "$original_out"
order durable '^durable 0$'
wait_until "the order in the original" grep -q '^durable 0$' "$original_out"
expect_eq "versions of the copy, with the one that it shares" 2 "$(ckpt list --json | grep -A20 '"name": "copy"' | sed -n 's/.*"version_count": \([0-9]*\).*/\1/p')"
order quit '^ok$'
expect_exit 0
wait "$original"
expect_refusal 125 'copy holds versions already' "$CKPT_BIN/ckptrun" --recover part@1 --clone copy

# A version from before any function was registered; a program that never asked gets no arguments.
forget_orders_after "$at_first_checkpoint"
recover part@1
wait_for_line "$OUT" '^durable 1$'
order quit '^ok$'
expect_exit 0
start_run --name plain -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
checkpoint plain
kill9_program
expect_refusal 125 'never called libckpt' "$CKPT_BIN/ckptrun" --recover plain -- lost
