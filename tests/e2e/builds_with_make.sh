#!/usr/bin/env bash
# make -j4 that builds a project of 200 files is suspended and resumed at random moments, with compilers, assemblers and
# their temporary files in the middle of their work; what comes out is what an undisturbed build makes.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for tool in make cc ar; do command -v "$tool" >/dev/null || skip "$tool is not installed"; done
readonly FILES=200
moments=$(share_of 20 4)

make_project() {
  local i
  mkdir "$1"
  for (( i = 1; i <= FILES; i++ )); do
    echo "int f$i(int x) { int s = 0; for (int i = 0; i < x; i++) s += i * $i; return s; }" >"$1/f$i.c"
  done
  # shellcheck disable=SC2016 # make's
  printf '%s\n' 'objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))' \
    $'lib.a: $(objects)\n\tar rcD $@ $^' $'%.o: %.c\n\tcc -O1 -c $< -o $@' >"$1/Makefile"
}
objects() { find disturbed -name '*.o' | wc -l; }
progress() { (( $(objects) >= $1 )) || run_has_ended; }

make_project calm
make -C calm -j4 >/dev/null
make_project disturbed
mkdir temporary
export TMPDIR=$WORK/temporary
start_run --name build -- make -C disturbed -j4
for (( i = 1; i <= moments; i++ )); do
  wait_until "more objects" progress "$((i * FILES / (moments + 1)))"
  sleep "0.0$((RANDOM % 10))"
  run_has_ended && break
  if ! ckpt suspend build >/dev/null 2>err.suspend; then
    expect_match "why the build was not suspended" 'finished|ended before' "$(cat err.suspend)"
    wait_until "the end of the build" run_has_ended
    break
  fi
  expect_exit 75
  recover build
done
(( i > moments / 2 )) || fail "the build ended after $i moments"
expect_exit 0
cmp calm/lib.a disturbed/lib.a || fail "the library differs"
echo "suspended and resumed at $((i - 1)) moments"
