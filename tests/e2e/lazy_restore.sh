#!/usr/bin/env bash
# A program whose memory comes while it runs finds every byte as it was, whatever it does to memory that is not there
# yet; what it touched first is remembered and comes first the next time.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mib=256

# start_and_stop NAME PROGRAM [ARGS...]: leaves a version of it, and the go file, so that it goes on at once.
start_and_stop() {
  local name=$1
  shift
  rm -f go
  start_run --name "$name" -- "$@" "$WORK/go"
  wait_for_line "$OUT" '^ready$'
  checkpoint "$name"
  kill9_both
  touch go
}

start_and_stop changes "$(program changes_missing_memory)" "$mib"
recover changes@1 --lazy -v
wait_run
grep -q 'lazy restore needs' "$ERR" && skip "lazy restore is not permitted here"
expect_eq "status and last line of the lazily restored program" "0 ok" "$RUN_STATUS $(tail -n 1 "$OUT")"
expect_match "report of the resume" '[^0-9.]2[0-9][0-9]\.[0-9] MiB to come' "$(cat "$ERR")"
expect_match "report of the filling" 'on demand \([1-9][0-9]* waits\), 0 B prefetched' "$(cat "$ERR")"
[[ -s $CKPT_STORE/changes/v0000000001.touched ]] || fail "nothing was recorded about what the program touched"

recover changes@1 -v  # lazily by default: that is how much there is to fill
wait_run
expect_eq "status and last line the second time" "0 ok" "$RUN_STATUS $(tail -n 1 "$OUT")"
expect_match "report of the second filling" ', [1-9][0-9.]* [KM]iB prefetched' "$(cat "$ERR")"

# A file about touched memory that is damaged is of no use, and no harm.
printf 'x' | dd of="$CKPT_STORE/changes/v0000000001.touched" bs=1 seek=24 conv=notrunc status=none
recover changes@1 -v
wait_run
expect_eq "status and last line with a damaged file" "0 ok" "$RUN_STATUS $(tail -n 1 "$OUT")"
expect_match "report of the third filling" ', 0 B prefetched' "$(cat "$ERR")"

recover changes@1 --eager -v
wait_run
expect_eq "status and last line of the eagerly restored program" "0 ok" "$RUN_STATUS $(tail -n 1 "$OUT")"
expect_match "report of the eager resume" ' 0 B to come' "$(cat "$ERR")"

# A checkpoint asked for while memory still comes waits for it; and what was remembered goes with its version.
rm go
start_run --name holds --keep 1 -- "$(program holds_256_mib)" 64 "$WORK/go"
wait_for_line "$OUT" '^count '
checkpoint holds
kill9_both
for generation in 1 2; do
  recover holds --lazy -v
  wait_for_line "$ERR" '^ckptrun: resumed holds@'
  checkpoint holds
  wait_for_line "$ERR" "^ckptrun: all memory of holds@$generation "
  wait_for_growth "$OUT"
  kill9_both
done
recover holds --lazy
wait_for_growth "$OUT"
touch go
expect_exit 0
expect_eq "last word after three lazy generations" ok "$(tail -n 1 "$OUT")"
for file in "$CKPT_STORE"/holds/*.touched; do
  [[ -e ${file%.touched}.ckpt ]] || fail "$file has outlived its version"
done
