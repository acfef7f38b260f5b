#!/usr/bin/env bash
# kill -9 of the program, of ckptrun, or of both, at random moments under --every 50ms: the last complete version always
# recovers, and the program finds its memory as it must be.
#
# Takes the program: memory, python3 or java.
#
#   CKPT_CRASH_MOMENTS   kills of each kind (default: 10; in a soak 200)
#   CKPT_CRASH_SEED      repeats the moments of another run
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

moments=${CKPT_CRASH_MOMENTS:-$(share_of 200 10)}
seed=${CKPT_CRASH_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "seed $seed (CKPT_CRASH_SEED=$seed repeats it)"
RANDOM=$((seed % 32768))

# Up to 300 ms: up to six periods, so that every stage of a checkpoint is met.
random_moment() { printf '0.%03d' $((RANDOM % 300)); }

# A kill may cut the last line short.
complete_lines() {
  if [[ -n $(tail -c 1 "$1") ]]; then sed '$d' "$1"; else cat "$1"; fi
}

# Whatever it says besides its count is a difference that it found.
check_sound() {
  local strange
  strange=$(complete_lines "$OUT" | grep -vE '^(ready|count .*)$' || true)
  expect_eq "what $1 found (seed $seed)" "" "$strange"
}

strike() {
  case $1 in
    program) kill9_program ;;
    supervisor)
      kill9_supervisor
      # It may have died with it, in the window where it must; else it lives on and makes room.
      kill -KILL "$PROGRAM_PID" 2>/dev/null || true
      wait_until "the end of the program" process_is_gone "$PROGRAM_PID"
      ;;
    both) kill9_both ;;
  esac
}

survives() {
  local name=$1 victim moment
  shift
  rm -f go
  start_run --name "$name" --every 50ms -- "$@" "$WORK/go"
  wait_for_line "$OUT" '^count '
  checkpoint "$name"  # one while it counts: what it wrote to files while it started does not roll back
  for victim in program supervisor both; do
    for (( moment = 1; moment <= moments; moment++ )); do
      sleep "$(random_moment)"  # the moment is what is tested
      strike "$victim"
      check_sound "$name"
      recover "$name"
      wait_for_line "$OUT" '^count '
    done
  done
  touch go
  expect_exit 0
  expect_eq "last word of $name (seed $seed)" ok "$(tail -n 1 "$OUT")"
  echo "$name: $((3 * moments)) kills survived"
}

case ${1:?memory, python3 or java} in
  memory) survives memory "$(program holds_256_mib)" 256 ;;
  python3) survives python3 "$PYTHON" "$(program counts_in_python.py)" ;;
  java) survives java "$JAVA" -cp "$CKPT_PROGRAMS" CountsInJava ;;
  *) fail "no program $1: memory, python3 or java" ;;
esac
