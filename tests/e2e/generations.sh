#!/usr/bin/env bash
# Each language's program is checkpointed, killed and recovered many times in a row. Its own counter goes on without a
# gap or a repeat, and what it says of its state at the end is ok.
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

generations=$(share_of 25 3)

last_count() { sed -n 's/^count \([0-9]*\)$/\1/p' "$1" | tail -n 1; }

# The numbers of one incarnation follow each other, from the one after FIRST_POSSIBLE to the one after LAST_POSSIBLE on.
check_counts() {
  local file=$1 first_possible=$2 last_possible=$3
  awk -v low="$first_possible" -v high="$last_possible" '
    $1 != "count" { next }
    !seen { seen = 1; if ($2 <= low || $2 > high + 1) { print "begins with " $2 ", not " low + 1 " to " high + 1; exit } }
    last != "" && $2 != last + 1 { print "count " $2 " after " last; exit }
    { last = $2 }' "$file"
}

live_through() {
  local name=$1 generation before after
  shift
  rm -f go
  start_run --name "$name" -- "$@" "$WORK/go"
  for (( generation = 1; generation <= generations; generation++ )); do
    wait_for_line "$OUT" '^count '
    before=$(last_count "$OUT")
    checkpoint "$name"
    wait_for_growth "$OUT"
    kill9_program
    after=$(last_count "$OUT")
    recover "$name"
    wait_for_line "$OUT" '^count '
    expect_eq "counts of $name in generation $generation" "" "$(check_counts "$OUT" "$before" "$after")"
  done
  touch go
  expect_exit 0
  expect_eq "last word of $name" ok "$(tail -n 1 "$OUT")"
  echo "$name: $generations generations"
}

live_through counts "$(program counts)"
live_through counts_static "$(program counts_static)"
live_through counts_in_cpp "$(program counts_in_cpp)"
live_through counts_in_python "$PYTHON" "$(program counts_in_python.py)"
live_through counts_in_lua "$LUA" "$(program counts_in_lua.lua)"
live_through counts_in_java "$JAVA" -cp "$CKPT_PROGRAMS" CountsInJava
live_through counts_in_java_serial "$JAVA" -XX:+UseSerialGC -cp "$CKPT_PROGRAMS" CountsInJava
