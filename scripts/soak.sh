#!/usr/bin/env bash
# The crash tests at full count (hundreds of kills each) and the fuzzer for hours, as root and as an ordinary user; with
# them all other tests from end to end, some of which have a full count as well.
# CKPT_TEST_LABELS chooses others, CKPT_PRESET the build; see scripts/test.sh.
set -euo pipefail

export CKPT_SOAK=full
export CKPT_TEST_LABELS=${CKPT_TEST_LABELS:-crash|e2e}
exec "$(dirname "${BASH_SOURCE[0]}")/test.sh"
