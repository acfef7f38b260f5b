#!/usr/bin/env bash
# A program whose threads map, move, protect, discard, share and fill memory at random, checkpointed again and again in
# every way of copying: each version must equal, byte for byte, a full copy of the program at the moment of its stop.
#
#   CKPT_FUZZ_SECONDS   how long (default: 60; in a soak two hours)
#   CKPT_FUZZ_SEED      repeats another run
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arguments=(--seconds "${CKPT_FUZZ_SECONDS:-$(share_of 7200 60)}")
[[ -z ${CKPT_FUZZ_SEED:-} ]] || arguments+=(--seed "$CKPT_FUZZ_SEED")
# It finds the restorer as ckptrun does: beside itself.
mkdir bin
cp "$(program memory_fuzzer)" "$(program changes_memory_at_random)" bin/
ln -s "$(dirname "$CKPT_BIN")/libexec" libexec
TMPDIR=$WORK bin/memory_fuzzer "${arguments[@]}"
