#!/usr/bin/env bash
# The store's own tests, and files that roll back (by reflink where there is such a thing), on file systems of their own in
# files: ext4, XFS, btrfs. What cannot be made or mounted here is skipped, and named. Part of scripts/soak.sh.
#
#   CKPT_TEST_BINARIES, CKPT_BIN, CKPT_PROGRAMS: from which build (default: build/release)
set -euo pipefail
exec </dev/null

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
build=$root/build/release
binaries=${CKPT_TEST_BINARIES:-$build/test_binaries}
export CKPT_BIN=${CKPT_BIN:-$build/bin} CKPT_PROGRAMS=${CKPT_PROGRAMS:-$build/tests/programs}
size=700M  # XFS takes no less than 300 MiB
passed=0 failed=0 skipped=0

work=$(mktemp -d "${TMPDIR:-/tmp}/ckpt-file-systems.XXXXXX")
mounted=''
at_exit() {
  [[ -z $mounted ]] || umount "$mounted" || umount -l "$mounted"
  rm -rf "$work"
}
trap at_exit EXIT

skip() {
  echo "SKIPPED $1: $2"
  skipped=$((skipped + 1))
}

# run_one NAME COMMAND...
run_one() {
  local name=$1
  shift
  if "$@" >"$work/log" 2>&1; then
    echo "passed $name"
    passed=$((passed + 1))
  else
    echo "FAILED $name"
    tail -n 40 "$work/log"
    failed=$((failed + 1))
  fi
}

try_file_system() {
  local kind=$1 make=(mkfs."$1" -q)
  shift
  command -v "mkfs.$kind" >/dev/null || { skip "$kind" "mkfs.$kind is not installed"; return; }
  (( EUID == 0 )) || { skip "$kind" "only root can mount it"; return; }
  truncate -s "$size" "$work/$kind.img"
  "${make[@]}" "$@" "$work/$kind.img" >"$work/log" 2>&1 || { skip "$kind" "it cannot be made: $(tail -n 1 "$work/log")"; return; }
  mkdir "$work/$kind"
  mount -o loop "$work/$kind.img" "$work/$kind" 2>"$work/log" || { skip "$kind" "it cannot be mounted: $(tail -n 1 "$work/log")"; return; }
  mounted=$work/$kind
  run_one "store on $kind" env TMPDIR="$mounted" "$binaries/store_test" --gtest_brief=1 --gtest_filter=-PowerLoss.*
  run_one "files that roll back on $kind" env TMPDIR="$mounted" bash "$root/tests/e2e/files_roll_back.sh"
  run_one "versions that travel on $kind" env TMPDIR="$mounted" bash "$root/tests/e2e/versions_travel.sh"
  umount "$mounted"
  mounted=''
  rm "$work/$kind.img"
}

try_file_system ext4 -F
try_file_system xfs
try_file_system btrfs
echo "$passed passed, $failed failed, $skipped skipped"
(( failed == 0 ))
