#!/usr/bin/env bash
# Stopped and released every 50 ms, every blocking call still returns what it should when it should, and every queued
# signal arrives once.
#
# timeout: 180
# serial
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=$(share_of 20 2)
signals=$(share_of 200000 20000)

stopper=$(program stops_repeatedly)

# stopped_often COMMAND...: COMMAND says ok although it is stopped all the time.
stopped_often() {
  local status=0
  "$stopper" 50ms "$@" >calls.out 2>calls.err </dev/null || status=$?
  expect_eq "status of $*: $(grep -v ' s$' calls.out || true) $(cat calls.err)" 0 "$status"
  expect_eq "last word" ok "$(tail -n 1 calls.out)"
  expect_match "number of stops" 'stopped [0-9]{2,} times' "$(cat calls.err)"
}

stopped_often "$(program walks_blocking_calls)" --rounds "$rounds"
stopped_often "$(program walks_blocking_calls)" --families child --rounds "$rounds"
touch go
stopped_often "$(program counts_realtime_signals)" "$signals" "$WORK/go"
