#!/usr/bin/env bash
# The crash tests at full count (hundreds of kills each, as root and as an ordinary user); takes hours.
# CKPT_TEST_LABELS chooses others, CKPT_PRESET the build; see scripts/test.sh.
set -euo pipefail

export CKPT_SOAK=full
export CKPT_TEST_LABELS=${CKPT_TEST_LABELS:-crash}
exec "$(dirname "${BASH_SOURCE[0]}")/test.sh"
