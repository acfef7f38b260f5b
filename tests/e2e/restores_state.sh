#!/usr/bin/env bash
# A program that checks itself is checkpointed and runs on undisturbed; another is checkpointed, killed and recovered
# three times over. Both must find all of their state as it was.
#
#   restores_state.sh [ROW...]     rows of restores_state.txt; default: all of them
#
# $RECOVER_OPTIONS is added to every recover (one option, such as --lazy).
#
# timeout: 120
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

table=$(dirname "$CKPT_TEST_SCRIPT")/restores_state.txt
generations=3
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure

# start_row NAME COMMAND...: in a directory of its own, until it is ready.
start_row() {
  local name=$1
  directory=$WORK/directory.$RUN_COUNT
  shift
  mkdir "$directory"
  cd "$directory" || exit
  start_run -v --name "$name" -- "$@" "$directory/go"
  cd "$WORK" || exit
  wait_for_line "$OUT" '^ready$'
}

# The program says ok as its last word and ends with 0; ckptrun does too.
finish_row() {
  touch "$directory/go"
  wait_run
  expect_eq "last line of $1 (status $RUN_STATUS): $(head -n 5 "$OUT")" ok "$(tail -n 1 "$OUT")"
  expect_eq "exit status of $1" 0 "$RUN_STATUS"
}

runs_on_after_checkpoint() {
  local row=$1
  shift
  start_row "$row.undisturbed" "$@"
  checkpoint "$row.undisturbed"
  finish_row "$row, which was only checkpointed"
}

continues_after_kills() {
  local row=$1 generation
  start_row "$@"
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint "$row"
    if (( generation % 2 == 1 )); then kill9_both; else kill9_program; fi
    recover "$row" -v ${RECOVER_OPTIONS:+"$RECOVER_OPTIONS"}
    wait_for_line "$ERR" "resumed $row@$generation "
  done
  finish_row "$row, recovered $generations times"
}

check_row() {
  local row=$1 line word
  local -a words=()
  line=$(sed -n "s/^$row  *//p" "$table")
  [[ -n $line ]] || fail "no row $row in $table"
  eval "words=($line)"  # quotes in the table mean what they mean in a shell
  for word in "${!words[@]}"; do
    [[ ${words[word]} != @* ]] || words[word]=$CKPT_PROGRAMS/${words[word]#@}
  done
  runs_on_after_checkpoint "$row" "${words[@]}"
  continues_after_kills "$row" "${words[@]}"
}

rows=("$@")
if (( ${#rows[@]} == 0 )); then
  mapfile -t rows < <(sed -n 's/^\([a-z_0-9]\+\) .*/\1/p' "$table")
fi
for row in "${rows[@]}"; do
  check_row "$row"
  echo "$row: as before after a checkpoint and after $generations recoveries"
done
