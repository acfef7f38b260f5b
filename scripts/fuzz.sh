#!/usr/bin/env bash
# libFuzzer on each reader of what others may have written (tests/fuzz/reader_targets.h), under AddressSanitizer and
# UndefinedBehaviorSanitizer, beginning with the corpus in the tree and inputs that are taken. Needs clang. New inputs
# stay in build/fuzz/corpus, one that fails in build/fuzz/failed.
#
#   scripts/fuzz.sh [SECONDS]   for each of the five readers (default: 60)
set -euo pipefail
exec </dev/null

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
seconds=${1:-60}
cd "$root"
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "$(nproc)" --target reader_fuzzers
mkdir -p build/fuzz/failed
for target in build/fuzz/fuzz/fuzz_*; do
  name=${target##*/fuzz_}
  mkdir -p "build/fuzz/corpus/$name"
  echo "== $name"
  CKPT_FUZZ_SEEDS=build/fuzz/corpus/$name "$target" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix=build/fuzz/failed/ "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name"
done
