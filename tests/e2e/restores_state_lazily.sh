#!/usr/bin/env bash
# A share of restores_state.sh with memory that comes while the program runs already.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_run --name probe -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
checkpoint probe
kill9_both
recover probe --lazy -v
wait_for_line "$ERR" "^ckptrun: resumed probe@1"
grep -q 'lazy restore needs' "$ERR" && skip "lazy restore is not permitted here"
kill9_both

rows=(keeps_anonymous_memory keeps_private_file_mapping keeps_memory_advice keeps_guard_regions keeps_memory_promises
  discards_memory keeps_rseq keeps_robust_mutexes keeps_signal_handlers counts_in_python)
if [[ ${CKPT_SOAK:-} == full ]]; then
  mapfile -t rows < <(sed -n 's/^\([a-z_0-9]\+\) .*/\1/p' "$(dirname "$CKPT_TEST_SCRIPT")/restores_state.txt")
fi
RECOVER_OPTIONS=--lazy bash "$(dirname "$CKPT_TEST_SCRIPT")/restores_state.sh" "${rows[@]}"
