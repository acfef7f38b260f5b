#!/usr/bin/env bash
# What takes hours: the crash tests at full count (hundreds of kills each) and the fuzzer of memory, as root and as an
# ordinary user; with them all other tests from end to end, some of which have a full count as well. Then 100,000 power
# failures of a store, some of heaps, and every error of every call, stores on other file systems, and libFuzzer on all readers.
#
#   CKPT_TEST_LABELS    other tests; CKPT_PRESET the build; see scripts/test.sh
#   CKPT_FUZZ_SECONDS   for each reader (default: 1800)
set -euo pipefail

export CKPT_SOAK=full
export CKPT_TEST_LABELS=${CKPT_TEST_LABELS:-crash|e2e}
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
build=$root/build/${CKPT_PRESET:-release}
failed=()

# Every part runs, also after a failure.
"$root/scripts/test.sh" || failed+=("tests")
"$build/test_binaries/store_test" --gtest_brief=1 --gtest_filter='PowerLoss.*:Failure.*' || failed+=("power failures and failing calls")
"$build/test_binaries/vmheap_test" --gtest_brief=1 --gtest_filter='PowerLossOfHeap.*' || failed+=("power failures of heaps")
CKPT_HEAP_STEPS=100000 "$build/test_binaries/vmheap_test" --gtest_brief=1 --gtest_filter='RandomHeap.*' || failed+=("random heap")
CKPT_TEST_BINARIES=$build/test_binaries CKPT_BIN=$build/bin CKPT_PROGRAMS=$build/tests/programs \
  bash "$root/tests/soak/other_file_systems.sh" || failed+=("other file systems")
if command -v clang++ >/dev/null; then
  "$root/scripts/fuzz.sh" "${CKPT_FUZZ_SECONDS:-1800}" || failed+=("readers")
else
  echo "SKIPPED readers: clang++ is not installed"
fi
(( ${#failed[@]} == 0 )) || { printf 'FAILED: %s\n' "${failed[@]}"; exit 1; }
