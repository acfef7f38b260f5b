#!/usr/bin/env bash
# Trees whose processes change their memory under an invariant all the time: copied in every way, and recovered with
# memory that comes while they run, they are found as they were at one instant. Without ckptrun none of them goes on with
# memory that it does not have.
#
#   memory_of_trees.sh [ROW...]
#
# timeout: 240
# shellcheck disable=SC2016 # what is quoted is for other shells
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure

# Two children, an orphan, and a shell that waits for them.
cat >tree <<'SCRIPT'
#!/usr/bin/env bash
go=$1
shift
( "${!#}" "$go" & )
for program; do "$program" "$go" & done
wait
while [[ $(grep -c '^ok$' "$OUT_OF_TREE") -lt $(( $# + 1 )) ]]; do sleep 0.02; done
SCRIPT
chmod +x tree

in_mode() {
  local mode=$1 generation before='' generations
  generations=$(share_of 60 3)
  rm -f go
  export OUT_OF_TREE=$WORK/said.$mode
  : >"$OUT_OF_TREE"
  start_run --every 50ms --mode "$mode" --name "$mode" -v -- \
    bash -c './tree "$@" | tee -a "$OUT_OF_TREE"' - "$WORK/go" "$(program keeps_linked_structure)" "$(program keeps_sums)"
  for (( generation = 1; generation <= generations; generation++ )); do
    wait_until "a version from this run" has_version_after "$mode" "$before"
    sleep "0.$(( RANDOM % 4 ))$(( RANDOM % 10 ))"  # the moment is what is tested
    kill9_family
    expect_only_counts "the processes"
    before=$(newest_version_file "$mode")
    recover "$mode" --every 50ms --mode "$mode" --lazy -v
    wait_for_line "$ERR" "^ckptrun: resumed $mode@"
    grep -q 'lazy restore needs' "$ERR" ||
      expect_match "what the resume says" ' [1-9][0-9.]* [KM]iB to come' "$(cat "$ERR")"
  done
  wait_until "a version from the last run" has_version_after "$mode" "$before"
  [[ $mode == auto ]] || expect_match "how the last version was made" "$mode" "$(ckpt stats "$mode" --json | json 'data["versions"][-1]["mode"]')"
  touch go
  expect_exit 0
  expect_only_counts "the processes"
  expect_eq "processes that found nothing wrong" 3 "$(grep -c '^ok$' "$OUT")"
}

without_ckptrun() {
  local round pids
  rm -f go
  start_run --name lost -- bash -c '"$0" 96 "$1" & ("$0" 96 "$1" &) ; "$0" 96 "$1"; wait' "$(program notices_lost_memory)" "$WORK/go"
  wait_for_lines "$OUT" 3
  checkpoint lost
  kill9_family
  for (( round = 0; round < $(share_of 40 4); round++ )); do
    recover lost@1 --lazy -v
    wait_for_line "$ERR" "^ckptrun: resumed lost@1"
    grep -q 'lazy restore needs' "$ERR" && { echo "lazy restore is not permitted here"; end_program; return; }
    pids=$(family_of "$RUN_PID")
    sleep "0.0$(( round * 7 % 10 ))"
    kill -KILL "$RUN_PID"
    wait_run
    # shellcheck disable=SC2086 # one word per pid
    grep -q '^ckptrun: all memory' "$ERR" && kill -KILL $pids 2>/dev/null
    for pid in $pids; do wait_until "the end of process $pid, whose memory was missing" process_is_gone "$pid"; done
    [[ ! -e lost ]] || fail "a process went on with its memory lost in round $round"
  done
}

if (( $# == 0 )); then set -- fork auto precopy without_ckptrun; fi
for row; do
  case $row in
    without_ckptrun) "$row" ;;
    *) in_mode "$row" ;;
  esac
  echo "$row: as it was"
done
