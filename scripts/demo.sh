#!/usr/bin/env bash
# A Python, a Lua and a Java program that count aloud: each is checkpointed twice while it runs, killed with -9 and
# resumed. Its counter must go on from the second checkpoint without a gap or a repeat. One OK line per language.
set -euo pipefail

root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
preset=${CKPT_PRESET:-release}
bin=$root/build/$preset/bin
demo=$root/examples/demo
deadline=60  # seconds for any one wait
work='' run_pid=''

say() { printf '  %s\n' "$*"; }

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  [[ -z ${messages:-} ]] || tail -n 5 "$messages" >&2
  exit 1
}

# Descriptors that whoever started us left open would be inherited by the program, and belong to no checkpoint.
# bash keeps its script at 255.
close_inherited_descriptors() {
  local fd
  for fd in "/proc/$BASHPID/fd/"*; do
    fd=${fd##*/}
    ((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
  done
}

clean_up() {
  local status=$?
  trap - EXIT
  end_run
  [[ -z $work ]] || rm -rf "$work"
  exit "$status"
}

build() {
  "$root/scripts/deps.sh"
  # shellcheck source=compiler_cache.sh
  source "$root/scripts/compiler_cache.sh"
  (
    cd "$root"
    cmake --preset "$preset"
    cmake --build --preset "$preset" -j "$(nproc)"
  ) >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; fail "the build"; }
}

# The program is the child of ckptrun that runs another file than ckptrun does.
program_pid() {
  local children pid
  mapfile -t children < <(ps -o pid= --ppid "$run_pid")
  for pid in "${children[@]// /}"; do
    [[ /proc/$pid/exe -ef /proc/$run_pid/exe ]] || { echo "$pid"; return; }
  done
}

start() {
  output=$1 messages=$2
  shift 2
  : >"$output"  # there from now on, not when the background job gets to it
  "$bin/ckptrun" "$@" >"$output" 2>"$messages" </dev/null &
  run_pid=$!
}

# kill -9, no mercy; ckptrun then ends too, as its program did.
kill_program() {
  local pid status=0
  pid=$(program_pid)
  [[ -n $pid ]] || fail "ckptrun has no program"
  kill -KILL "$pid"
  wait "$run_pid" || status=$?
  run_pid=''
  ((status == 137)) || fail "ckptrun ended with status $status, not 137, after kill -9 of its program"
}

# A signal sent to ckptrun reaches the program.
end_run() {
  [[ -n $run_pid ]] || return 0
  kill -TERM "$run_pid" 2>/dev/null || true
  wait "$run_pid" 2>/dev/null || true
  run_pid=''
}

lines() { wc -l <"$1"; }

# Until the program has said COUNT more numbers than now.
hear() {
  local wanted=$(($(lines "$output") + $1)) end=$((SECONDS + deadline))
  until (($(lines "$output") >= wanted)); do
    kill -0 "$run_pid" 2>/dev/null || fail "the program ended by itself"
    ((SECONDS < end)) || fail "no number within $deadline s"
    sleep 0.01
  done
}

# Sets before and after: the counter at the checkpoint lies between them.
checkpoint() {
  before=$(lines "$output")
  "$bin/ckpt" checkpoint "$1" >>"$work/ckpt.log" 2>>"$messages" || fail "ckpt checkpoint $1"
  after=$(lines "$output")
}

# Every line of FILE from number FIRST on is the one before plus 1.
check_counts_from() {
  awk -v want="$2" '$0 != want { printf "line %d says %s, not %d\n", NR, $0, want; exit 1 } { want++ }' "$1" >&2
}

show() {
  local language=$1 name=$2
  shift 2
  local first=$work/$name.first second=$work/$name.second resumed_at last
  printf '\n%s: %s\n' "$language" "$*"
  start "$first" "$work/$name.messages" --name "$name" -- "$@"
  hear 20
  checkpoint "$name"
  say "checkpoint 1 while it counts, at $before or a moment later"
  hear 20
  checkpoint "$name"
  say "checkpoint 2 while it counts, at $before or a moment later"
  hear 20
  kill_program
  say "kill -9 after it said $(tail -n 1 "$first")"

  start "$second" "$work/$name.messages2" --recover "$name"
  hear 40  # past the number at which it was killed
  end_run
  resumed_at=$(head -n 1 "$second") last=$(tail -n 1 "$second")
  say "resumed: it goes on with $resumed_at, as after checkpoint 2, and counts up to $last"

  check_counts_from "$first" 1 || fail "$language: the counter jumped while checkpoints were taken"
  ((resumed_at > before && resumed_at <= after + 1)) ||
    fail "$language: resumed with $resumed_at, but checkpoint 2 was taken between $before and $after"
  check_counts_from "$second" "$resumed_at" || fail "$language: the counter jumped after it was resumed"
  (head -n "$((resumed_at - 1))" "$first"; cat "$second") >"$work/$name.whole"
  check_counts_from "$work/$name.whole" 1 || fail "$language: the two halves do not fit"
  verdicts+=("OK $language: 1 to $last without a gap or a repeat, across kill -9 after checkpoint 2 at $((resumed_at - 1))")
}

close_inherited_descriptors
work=$(mktemp -d "${TMPDIR:-/tmp}/ckpt-demo.XXXXXX")
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export CKPT_STORE=$work/store
verdicts=()

echo "building (build/$preset)"
build
javac -d "$work/classes" "$demo/Counter.java"
show Python python /usr/bin/python3 "$demo/counter.py"
show Lua lua /usr/bin/lua5.4 "$demo/counter.lua"
show Java java /usr/bin/java -cp "$work/classes" Counter
printf '\n'
printf '%s\n' "${verdicts[@]}"
