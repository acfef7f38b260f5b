#!/usr/bin/env bash
# kill -9 of a program with a persistent heap at random moments: it is never found between two commits, and no commit that
# was announced is lost.
#
#   CKPT_CRASH_MOMENTS   kills (default: 50; in a soak 1000)
#   CKPT_CRASH_SEED      repeats the moments of another run
#
# timeout: 120
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

moments=${CKPT_CRASH_MOMENTS:-$(share_of 1000 50)}
seed=${CKPT_CRASH_SEED:-$((RANDOM * 32768 + RANDOM))}
echo "seed $seed (CKPT_CRASH_SEED=$seed repeats it)"
RANDOM=$((seed % 32768))

last_commit=0

# A kill may cut the last line short.
complete_lines() {
  if [[ -n $(tail -c 1 "$1") ]]; then sed '$d' "$1"; else cat "$1"; fi
}

look_at_output() {
  local found
  expect_eq "complaints (seed $seed)" "" "$(grep WRONG out.bank || true)"
  found=$(sed -n 's/^found //p' out.bank)
  if [[ -n $found ]] && (( found < last_commit )); then
    fail "commit $last_commit was announced, but commit $found was found (seed $seed)"
  fi
  last_commit=$(complete_lines out.bank | sed -n 's/^\(found\|commit\) //p' | tail -n 1)
}

for (( moment = 1; moment <= moments; moment++ )); do
  "$(program transfers_in_heap)" bank.heap 1000000 >out.bank &
  pid=$!
  sleep "0.0$((RANDOM % 90 + 10))"  # the moment is what is tested
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  [[ -s out.bank ]] || continue
  look_at_output
done

"$(program transfers_in_heap)" bank.heap 20 >out.bank || true
look_at_output
expect_eq "last word (seed $seed)" ok "$(tail -n 1 out.bank)"
(( last_commit >= 20 )) || fail "commit $last_commit is the last one, after a run of 20"
echo "$moments kills survived, $last_commit commits"
