#!/usr/bin/env bash
# Builds everything and runs every test; ends with the totals, "N passed, N failed".
#
# As root: the whole suite as root, then once more as an ordinary user (uid 65534) from an installed copy, because the
# checkout may stand where that user cannot go. As an ordinary user: the whole suite as that user.
#
#   CKPT_PRESET=NAME       CMake preset, build tree build/NAME (default: release)
#   CKPT_TEST_LABELS=RE    only tests with a matching label: unit, assumptions, e2e, crash
#   CKPT_TIMEOUT_FACTOR=N  multiplies how long a test may take (default: 1)
#   CKPT_SOAK=full         full counts instead of a share, with timeouts to match (scripts/soak.sh)
#
# Leaves nothing behind but the build tree.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
cd "$root"
preset=${CKPT_PRESET:-release}
labels=${CKPT_TEST_LABELS:-.}
build=$root/build/$preset
ordinary_uid=65534
timeout_factor=${CKPT_TIMEOUT_FACTOR:-1}
[[ ${CKPT_SOAK:-} != full ]] || timeout_factor=60
passed=0 failed=0 skipped=0
failures=  # which tests failed, with the end of what they printed
export CTEST_OUTPUT_ON_FAILURE=1
printf -v CKPT_TEST_SESSION '%s.%(%s)T' "$$" -1
export CKPT_TEST_SESSION

build_all() {
  # shellcheck source=compiler_cache.sh
  source "$root/scripts/compiler_cache.sh"
  cmake --preset "$preset" -DCKPT_TIMEOUT_FACTOR="$timeout_factor"
  cmake --build --preset "$preset" -j "$(nproc)"
}

# A directory that the ordinary user can reach and run programs from.
make_stage() {
  local base
  for base in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
    stage=$(mktemp -d "$base/ckpt.XXXXXX") || continue
    chmod 755 "$stage"
    cp /bin/true "$stage/true"
    if as_ordinary_user "$stage/true"; then
      rm "$stage/true"
      return 0
    fi
    rm -rf "$stage"
  done
  echo "no directory that uid $ordinary_uid can run programs from; set TMPDIR to one" >&2
  exit 1
}

as_ordinary_user() {
  if (( EUID != 0 )); then
    "$@"
    return
  fi
  setpriv --reuid="$ordinary_uid" --regid="$ordinary_uid" --clear-groups --inh-caps=-all \
    env HOME="$stage/user" TMPDIR="$stage/user" PATH=/usr/local/bin:/usr/bin:/bin "$@"
}

# count_results FILE: adds the test cases of a JUnit file of ctest. What neither passed nor said why it was skipped
# (an executable that is missing, say) has failed.
count_results() {
  local total run skip
  total=$(grep -c '^[[:space:]]*<testcase ' "$1" || true)
  run=$(grep -c '^[[:space:]]*<testcase .* status="run"' "$1" || true)
  skip=$(grep -c '^[[:space:]]*<skipped message="SKIP_' "$1" || true)
  passed=$((passed + run)) skipped=$((skipped + skip)) failed=$((failed + total - run - skip))
}

# failures_in TITLE FILE: the failed test cases of a JUnit file of ctest with the last lines that each of them printed.
failures_in() {
  awk -v title="$1" -v most=12 '
    /<testcase / {
      split($0, field, "\"")
      failed = !/ status="run"/
      lines = 0
      next
    }
    /<skipped message="SKIP_/ { failed = 0 }
    failed && /<\/testcase>/ {
      print "  " field[2] ", " title
      for (i = lines > most ? lines - most : 0; i < lines; i++) print "    " substr(line[i], 1, 200)
    }
    {
      gsub(/^[[:space:]]+|<[^>]*>/, "")
      gsub(/&lt;/, "<"); gsub(/&gt;/, ">"); gsub(/&quot;/, "\""); gsub(/&amp;/, "\\&")
      if ($0 ~ /[^[:space:]]/) line[lines++] = $0
    }' "$2"
}

# run_ctest TITLE BUILD_TREE JUNIT [COMMAND...]: COMMAND is put in front of ctest.
run_ctest() {
  local title=$1 tree=$2 junit=$3 status=0
  shift 3
  printf '\n== %s\n' "$title"
  "$@" ctest --test-dir "$tree" -j "$((2 * $(nproc)))" -L "$labels" --no-tests=error --output-junit "$junit" </dev/null \
    || status=$?
  if [[ ! -s $junit ]]; then
    echo "ctest left no results (exit status $status)" >&2
    failed=$((failed + 1))
    return
  fi
  local before=$failed
  count_results "$junit"
  failures+=$(failures_in "$title" "$junit")$'\n'
  if (( status != 0 && failed == before )); then
    echo "ctest failed with status $status although no test case did" >&2
    failed=$((failed + 1))
  fi
}

stage_for_ordinary_user() {
  mkdir -p "$stage/tests"
  cmake --install "$build" --prefix "$stage/prefix" >/dev/null
  cp -r tests/e2e tests/crash examples "$stage/tests/"
  mv "$stage/tests/examples" "$stage/examples"
  cp -r "$build/tests/programs" "$stage/programs"
  rm -rf "$stage/programs/CMakeFiles"
  cp -r "$build/test_binaries" "$stage/prefix/test_binaries"  # where they find the restorer
  chmod -R a+rX "$stage"
  mkdir -m 700 "$stage/build" "$stage/user"
  chown "$ordinary_uid:$ordinary_uid" "$stage/build" "$stage/user"
  as_ordinary_user cmake -S "$stage/tests/e2e" -B "$stage/build" -DCKPT_BIN="$stage/prefix/bin" \
    -DCKPT_PROGRAMS="$stage/programs" -DCKPT_TEST_BINARIES="$stage/prefix/test_binaries" \
    -DCKPT_TIMEOUT_FACTOR="$timeout_factor" >/dev/null
}

# The JVM keeps files there for as long as it lives, whatever TMPDIR says, and one that is killed leaves them.
hsperfdata_directories() { compgen -G '/tmp/hsperfdata_*' || true; }

sweep_hsperfdata() {
  local directory file
  for directory in $(hsperfdata_directories); do
    [[ $'\n'$hsperfdata_before$'\n' != *$'\n'"$directory"$'\n'* ]] || continue
    for file in "$directory"/*; do
      [[ $(cat "/proc/${file##*/}/comm" 2>/dev/null) == java ]] || rm -f "$file"
    done
    rmdir --ignore-fail-on-non-empty "$directory" 2>/dev/null || true
  done
}

# Processes of this session: they carry its mark in their environment.
session_pids() {
  local file pid
  for file in $(grep -lsF "CKPT_TEST_SESSION=$CKPT_TEST_SESSION" /proc/[0-9]*/environ || true); do
    pid=${file#/proc/}
    pid=${pid%/environ}
    [[ ! -e /proc/$pid/exe || $pid == "$$" ]] || echo "$pid"
  done
}

end_leftovers() {
  local pid name leftovers=0
  for pid in $(session_pids); do
    name=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || continue
    [[ -n $name ]] || continue
    echo "left behind by a test: pid $pid, $name" >&2
    kill -KILL "$pid" 2>/dev/null || true
    leftovers=$((leftovers + 1))
  done
  return "$((leftovers > 0))"
}

clean_up() {
  local status=$?
  trap - EXIT
  end_leftovers || true
  sweep_hsperfdata
  [[ -z ${stage:-} ]] || rm -rf "$stage"
  exit "$status"
}

hsperfdata_before=$(hsperfdata_directories)
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

scripts/deps.sh
build_all
make_stage
mkdir -m 711 "$stage/self"  # some tests start servers as another user, who has to get there
if (( EUID == 0 )); then
  run_ctest "as root" "$build" "$stage/self.xml" env TMPDIR="$stage/self"
  stage_for_ordinary_user
  run_ctest "as an ordinary user (uid $ordinary_uid), installed" "$stage/build" "$stage/build/user.xml" as_ordinary_user
else
  run_ctest "as $(id -un 2>/dev/null || id -u) only; run it as root to test as root too" "$build" "$stage/self.xml" \
    env TMPDIR="$stage/self"
fi

clean=1
end_leftovers || clean=0
printf '\n'
(( skipped == 0 )) || echo "$skipped skipped, each listed above"
(( failed == 0 )) || printf 'failed tests, whose whole output is above:\n%s' "$failures"
echo "$passed passed, $failed failed"
(( failed == 0 && passed > 0 && clean == 1 ))
