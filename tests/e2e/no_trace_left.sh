#!/usr/bin/env bash
# A program under frequent checkpoints sees nothing of them: no descriptor, thread, mapping, child or signal that is not
# its own, no call that ends early or fails, and every queued signal exactly once.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

checkpoints=$(share_of 200 20)
signals=$(share_of 200000 20000)

# has_made COUNT NAME: that many checkpoints, of which only the last few are kept.
has_made() {
  local newest
  newest=$(find "$CKPT_STORE" -path "*/$2/v*.ckpt" 2>/dev/null | sort | tail -n 1)
  newest=${newest##*/v}
  newest=${newest%.ckpt}
  [[ -n $newest ]] && (( 10#$newest >= $1 ))
}

has_made_or_ended() {
  run_is_alive || fail "ckptrun ended early: $(tail -n 2 "$OUT" "$ERR")"
  has_made "$@"
}

finish() {
  touch go
  expect_exit 0
  expect_eq "last word of $1: $(head -n 5 "$OUT")" ok "$(tail -n 1 "$OUT")"
  # On a busy machine a checkpoint may take longer than 50 ms.
  expect_eq "messages of ckptrun" "" \
    "$(grep -vE "a view of the program's memory|checkpoints take longer than the period" "$ERR" || true)"
  rm go
}

start_run --name trace --every 50ms -- "$(program sees_no_trace)" "$WORK/go"
wait_until "$checkpoints checkpoints" has_made_or_ended "$checkpoints" trace
finish sees_no_trace

start_run --name signals --every 50ms -- "$(program counts_realtime_signals)" "$signals" "$WORK/go"
CKPT_TEST_DEADLINE=150 wait_for_line "$OUT" '^all arrived$'
has_made 10 signals || fail "fewer than 10 checkpoints"
finish counts_realtime_signals

# None may end early. The upper bound only catches calls that begin anew at every stop, which would never end: how late
# a busy machine makes them says nothing.
start_run --name calls --every 50ms -- \
  "$(program walks_blocking_calls)" --families sleep,poll,epoll,futex,signal,ipc,read --rounds 2 --late 2000
wait_run
expect_eq "last word (status $RUN_STATUS): $(grep -v ' s$' "$OUT" || true)" ok "$(tail -n 1 "$OUT")"
has_made 10 calls || fail "fewer than 10 checkpoints"
