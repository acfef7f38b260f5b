#!/usr/bin/env bash
# kill -9 of ckptrun, of its program, or of both, exactly at a system call of ckptrun: at every call of a checkpoint and
# of a recover in a soak, at a share of them else. The last complete version recovers, the program finds its memory as
# it must be, and neither processes nor unfinished files remain.
#
# An undisturbed run counts the calls by name; each of them, times the three victims, is a case. A case that is not
# reached, because calls vary a little from run to run, is told apart from one that was survived.
#
# Takes the stage that is to be struck, checkpoint or recover.
#
#   CKPT_CRASH_SEED      repeats the choice of another run
#   CKPT_CRASH_CASE      only this one: "checkpoint fdatasync 1 supervisor"
#
# timeout: 600
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

seed=${CKPT_CRASH_SEED:-$((RANDOM * 32768 + RANDOM))}
one_in=$(share_of 1 30)  # twice in CI: as root and as an ordinary user
one_in_other=$(share_of 1 100)
only=${CKPT_CRASH_CASE:-}
few=3  # once for each thread of the program
victims=(supervisor program both)
command=("$(realpath "$(program holds_256_mib)")" 2 "$WORK/go")
most_earlier_checkpoints=10
more_checkpoints=0  # until the next one removes a segment, too
struck=0 nobody=0 missed=0 lived=0

# A failure names its case.
eval "$(declare -f reproduce | sed '1s/reproduce/reproduce_all/')"
reproduce() { echo "the case: CKPT_CRASH_CASE='${CKPT_CRASH_CASE:-}'"; reproduce_all; }

files_named() { find "$CKPT_STORE" -name "$1" 2>/dev/null; }
newest_version() { { echo 0; files_named 'v*.ckpt' | sed 's/.*\/v0*\([0-9]*\)\.ckpt/\1/'; } | sort -n | tail -n 1; }
was_struck() { [[ -e $WORK/result ]]; }
goes_on() { (( $(line_count "$OUT") >= $1 )); }
nobody_left() { [[ -z $(marked_pids) ]]; }

# Whatever it says besides its count is a difference that it found.
check_sound() {
  expect_eq "what the program found" "" "$(grep -vE '^(ready|count .*)$' "$OUT" || true)"
}

under() { RUN_UNDER=("$(program kills_at_call)" "$@" "$WORK/mark" "$WORK/result"); }

# Most pages change from each checkpoint to the next, so that sooner or later they remove segments of those before, as the
# one does that is to be struck.
start_program() {
  local before after=0 done=0
  start_run --name app --keep 1 -- "${command[@]}"
  wait_for_line "$OUT" '^count '
  while :; do
    before=$after
    checkpoint app
    wait_for_growth "$OUT" 2
    after=$(files_named 'v*.*' | wc -l)
    done=$((done + 1))
    (( after > before )) || break
    (( done < most_earlier_checkpoints )) || fail "no segment is removed after $done checkpoints"
  done
  for (( done = 0; done < more_checkpoints; done++ )); do
    checkpoint app
    wait_for_growth "$OUT" 2
  done
  find_program_pid
}

program_pids() {
  local pid
  for pid in $(marked_pids); do
    [[ $(readlink "/proc/$pid/exe") != "${command[0]}" ]] || echo "$pid"
  done
}

# What is left of a struck run: nothing, or a program that works; and nothing without the program.
gone_or_going_on() { nobody_left || goes_on "$1"; }
end_of_struck_run() {
  local pid
  [[ -z $RUN_PID ]] || wait_run
  wait_until "the program to end or to go on" gone_or_going_on $(( $(line_count "$OUT") + 3 ))
  check_sound
  for pid in $(program_pids); do
    lived=$((lived + 1))
    kill -KILL "$pid"
  done
  wait_until "the end of all processes" nobody_left
}

recovers() {
  RUN_UNDER=()
  recover app
  wait_for_lines "$OUT" 3
  checkpoint app
  expect_eq "unfinished files" "" "$(files_named '*tmp*')"
  touch go
  expect_exit 0
  expect_eq "last word of the program" ok "$(tail -n 1 "$OUT")"
  wait_until "the end of all processes" nobody_left
}

no_damage() {
  ckpt list >list.out 2>list.err || fail "ckpt list: $(cat list.err)"
  expect_eq "damage that ckpt list shows" "" "$(cat list.err; grep -i damage list.out || true)"
}

# --- the two stages: each counts its calls, or is struck -----------------------------------------------------------

count_checkpoint() {
  start_program
  touch mark
  checkpoint app
  rm mark
  kill9_program
}

strike_checkpoint() {
  local before status=0
  start_program
  before=$(newest_version)
  touch mark
  "$CKPT_BIN/ckpt" checkpoint app >client.out 2>client.err </dev/null || status=$?
  rm mark
  was_struck || { kill9_program; return 0; }
  end_of_struck_run
  expect_eq "exit status of ckptrun" 137 "$RUN_STATUS"
  if (( status == 0 )); then before=$((before + 1)); fi  # it was promised
  (( $(newest_version) >= before )) || fail "version $before is lost; there is $(newest_version)"
}

make_version() {
  [[ -d version ]] && return
  RUN_UNDER=()
  start_program
  kill9_program
  mv "$CKPT_STORE" version
}

start_recover() {
  touch mark
  cp -a "$WORK/version" "$CKPT_STORE"
  recover app
}

count_recover() {
  start_recover
  wait_for_line "$OUT" '^count '
  rm mark
  kill9_program
}

struck_or_recovered() { was_struck || run_has_ended || grep -q '^count ' "$OUT"; }
ended_or_recovered() { run_has_ended || grep -q '^count ' "$OUT"; }

strike_recover() {
  local pid
  start_recover
  wait_until "the strike" struck_or_recovered
  wait_until "the end of ckptrun" ended_or_recovered  # struck too early, the program is built all the same
  rm mark
  if run_has_ended; then
    wait_run
    (( RUN_STATUS != 0 )) || fail "ckptrun claims success"
    was_struck || fail "ckptrun failed without a strike: $(cat "$ERR")"
  else  # the strike may still come, late as it is
    for pid in $(program_pids); do kill -KILL "$pid" 2>/dev/null || true; done
  fi
  end_of_struck_run
}

# --- cases ----------------------------------------------------------------------------------------------------------

clean() {
  rm -rf "$CKPT_STORE" go mark result out.* err.*
}

# run_case STAGE POINT NUMBER VICTIM
run_case() {
  CKPT_CRASH_CASE=$*
  clean
  [[ $1 == checkpoint ]] || make_version
  clean
  under "$2" "$3" "$4"
  "strike_$1"
  case $(head -n 1 result 2>/dev/null || true) in
    struck) struck=$((struck + 1)) ;;
    'struck nobody') nobody=$((nobody + 1)) ;;
    *) missed=$((missed + 1)) ;;
  esac
  no_damage
  recovers
}

# count_calls STAGE POINT...: how often each is reached. Not every checkpoint removes a segment: what is left in one goes to
# newer ones bit by bit. So a checkpoint that removes none is not the one to strike, but one that comes later.
count_calls() {
  local stage=$1 point missing
  shift
  for (( more_checkpoints = 0; more_checkpoints < 12; more_checkpoints++ )); do
    clean
    [[ $stage == checkpoint ]] || make_version
    clean
    under count
    "count_$stage"
    wait_until "the counts" was_struck
    mv result counts
    missing=""
    for point; do
      grep -qE "^$point [1-9]" counts || missing+=" $point"
    done
    [[ -n $missing ]] || return 0
  done
  fail "$stage makes no call$missing: $(tr '\n' ',' <counts)"
}

# Every one_in-th case, and all points that are few with one victim each; at least one of each. Calls that are no point
# of their own ("other") matter less.
run_stage() {
  local stage=$1 point count number victim share index=0 all=0 chosen=() named=$(($# - 1))
  shift
  count_calls "$stage" "$@"
  while read -r point count; do
    for (( number = 1; number <= count; number++ )); do
      for index in 0 1 2; do
        victim=${victims[index]}
        share=$one_in
        [[ $point != other ]] || share=$one_in_other
        if (( (seed + all++) % share == 0 || (count <= few && (seed + number) % 3 == index) ||
          (number == 1 + seed % count && index == seed % 3) )); then
          chosen+=("$stage $point $number $victim")
        fi
      done
    done
  done <counts
  echo "$stage: ${#chosen[@]} of $all cases: $(awk '$2 > 0 { printf "%s %s, ", $1, $2 }' counts)"
  struck=0 nobody=0 missed=0 lived=0
  for point in "${chosen[@]}"; do
    # shellcheck disable=SC2086  # four words
    run_case $point
  done
  echo "$stage: $struck strikes survived, in $lived of them the program lived on without ckptrun;" \
    "$nobody found no program yet, $missed not reached"
  (( struck >= named )) || fail "$struck strikes were made; $named points are named, each of them exists"
}

if [[ -n $only ]]; then
  # shellcheck disable=SC2086  # four words
  run_case $only
  exit 0
fi
echo "seed $seed (CKPT_CRASH_SEED=$seed repeats it)"
case ${1:?checkpoint or recover} in
  checkpoint)
    run_stage checkpoint ptrace-seize ptrace-interrupt ptrace-detach process_vm_readv openat pwrite64 fdatasync \
      renameat fsync unlinkat
    ;;
  recover) run_stage recover ptrace-seize ptrace-detach process_vm_writev clone3 openat ;;
  *) fail "no stage $1: checkpoint or recover" ;;
esac
