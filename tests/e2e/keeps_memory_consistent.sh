#!/usr/bin/env bash
# A program whose threads change memory under an invariant all the time, checkpointed every 50 ms in one way of
# copying, is killed together with its supervisor at random moments; whatever version comes back must be one instant.
#
#   keeps_memory_consistent.sh [PROGRAM-MODE...]   default: all
#       PROGRAM   one of the list below
#       MODE      copy, precopy, fork, auto, or compare (auto, without tracking by the kernel)
#
#   CKPT_CRASH_SEED   repeats the moments of another run
#
# timeout: 240
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

programs=(keeps_sums keeps_linked_structure keeps_sequence_locks keeps_remapped_memory keeps_kernel_written_memory)
modes=(copy precopy fork auto compare)
generations=$(share_of 100 4)
seed=${CKPT_CRASH_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "seed $seed (CKPT_CRASH_SEED=$seed repeats it)"
RANDOM=$((seed % 32768))
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure

# Up to 400 ms: several checkpoints, and every stage of one.
random_moment() { printf '0.%03d' $((RANDOM % 400)); }

stays_consistent() {
  local case=$1 program=${1%-*} mode=${1##*-} generation before=''
  local -a options=(--every 50ms) arguments=()
  [[ $program != keeps_kernel_written_memory ]] || arguments+=("$WORK/$case.file")
  if [[ $mode == compare ]]; then
    export CKPT_TRACKING=compare
  else
    unset CKPT_TRACKING
    options+=(--mode "$mode")
  fi
  rm -f go
  start_run "${options[@]}" --name "$case" -- "$(program "$program")" ${arguments[@]+"${arguments[@]}"} "$WORK/go"
  wait_for_line "$OUT" '^count '
  for (( generation = 1; generation <= generations; generation++ )); do
    wait_until "a version of $case from this run" has_version_after "$case" "$before"
    sleep "$(random_moment)"  # the moment is what is tested
    kill9_both
    before=$(newest_version_file "$case")
    expect_only_counts "$case (seed $seed)"
    recover "$case" "${options[@]}"
    wait_for_line "$OUT" '^count '
  done
  touch go
  expect_exit 0
  expect_eq "last word of $case (seed $seed)" ok "$(tail -n 1 "$OUT")"
  echo "$case: consistent in $generations generations"
}

cases=("$@")
if (( ${#cases[@]} == 0 )); then
  for program in "${programs[@]}"; do
    for mode in "${modes[@]}"; do cases+=("$program-$mode"); done
  done
fi
for case in "${cases[@]}"; do stays_consistent "$case"; done
