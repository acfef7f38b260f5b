#!/usr/bin/env bash
# Trees of processes that change at random are checkpointed at any moment, killed and recovered, and find everything as
# their model says, whether they have their old ids or only see them. Prints the seeds.
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The kernel tells a group that loses its last tie with its session while some of it are stopped (setpgid(2), SIGHUP):
# that shall not be the group of this test.
RUN_UNDER=(setsid)
recoveries=$(share_of 500 15)  # twice in CI: as root and as an ordinary user
per_tree=5
policies=(auto auto new namespace new)
for (( done_before = 0; done_before < recoveries; done_before += per_tree )); do
  seed=$((RANDOM * 32768 + RANDOM))
  echo "seed $seed"
  name=tree.$seed
  rm -f go
  start_run --name "$name" -- "$PYTHON" "$(program grows_random_tree.py)" "$seed" "$WORK/shared.$seed" "$WORK/go"
  wait_for_line "$OUT" '^ready$'
  for (( i = 0; i < per_tree; i++ )); do
    wait_for_growth "$OUT" $((RANDOM % 6))
    checkpoint "$name"
    kill9_family
    recover "$name" --keep 1 --pids "${policies[RANDOM % ${#policies[@]}]}"
    wait_for_growth "$OUT" 2
  done
  touch go
  wait_run
  expect_eq "last line of seed $seed (status $RUN_STATUS): $(grep DIFFERS "$OUT" || true)" ok "$(tail -n 1 "$OUT")"
done
