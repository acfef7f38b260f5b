#!/usr/bin/env bash
# How a program set its terminal is how the terminal that it is recovered in is set.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

modes=$(program keeps_terminal_modes.py)
terminal=$(program drives_terminal.py)

echo end | "$PYTHON" "$terminal" "$CKPT_BIN/ckptrun" --name modes -- "$PYTHON" "$modes" "$WORK/ready" "$WORK/go" &
driver=$!
wait_until "the program" test -e ready
checkpoint modes
touch go
wait "$driver"

printf 'expect ok\nend\n' | "$PYTHON" "$terminal" "$CKPT_BIN/ckptrun" --recover modes@1 ||
  fail "the new terminal is not set as the old one was"
