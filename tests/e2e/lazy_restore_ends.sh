#!/usr/bin/env bash
# A lazily restored program never runs on memory that it does not have: it dies with ckptrun while memory is missing,
# and when a page cannot be read; the checkpoint stays.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mib=512
name=notices

start_run --name "$name" -- "$(program notices_lost_memory)" "$mib" "$WORK/go"
wait_for_line "$OUT" '^ready$'
checkpoint "$name"
kill9_both

guardians() { pgrep -f "^$CKPT_BIN/ckptrun --recover $name" || true; }
no_guardians() { [[ -z $(guardians) ]]; }

# --- ckptrun is killed, at various moments, while the program runs through its memory ----------------------------

filled=0 killed=0
for (( round = 0; round < $(share_of 100 10); round++ )); do
  recover "$name@1" --lazy -v
  wait_for_line "$ERR" "^ckptrun: resumed $name@1"
  grep -q 'lazy restore needs' "$ERR" && skip "lazy restore is not permitted here"
  find_program_pid
  sleep "0.0$(( round * 7 % 10 ))"
  kill -KILL "$RUN_PID"
  wait_run
  if grep -q '^ckptrun: all memory' "$ERR"; then
    filled=$(( filled + 1 ))
    kill -KILL "$PROGRAM_PID"
  else
    killed=$(( killed + 1 ))
  fi
  wait_until "the end of the program, whose memory was missing" process_is_gone "$PROGRAM_PID"
  [[ ! -e lost ]] || fail "the program went on with its memory lost in round $round"
done
(( killed > 0 )) || fail "all memory was there before ckptrun was killed, $filled times; make the program larger"
wait_until "the end of all guardians" no_guardians

# --- a page that is damaged ---------------------------------------------------------------------------------------

# Somewhere in the pages, which come first in the file.
segment=$CKPT_STORE/$name/v0000000001.ckpt
offset=$(( mib * 600000 ))
dd if="$segment" of=saved bs=1 skip="$offset" count=1 status=none
byte=$(od -An -tu1 saved)
printf '%b' "\\x$(printf %x $(( (byte + 1) % 256 )))" | dd of="$segment" bs=1 seek="$offset" conv=notrunc status=none
recover "$name@1" --lazy
expect_exit 125
expect_match "message" "^ckptrun: .*v0*1\.ckpt is damaged: page 0x[0-9a-f]+ .*digest" \
  "$(tail -n 1 "$ERR")"
expect_eq "programs that live on without their memory" '' "$(pgrep -f "notices_lost_memory $mib $WORK/go" || true)"
[[ ! -e lost ]] || fail "the program went on with a page lost"
expect_refusal 125 'page 0x[0-9a-f]+ .*digest' "$CKPT_BIN/ckptrun" --recover "$name@1" --eager

dd if=saved of="$segment" bs=1 seek="$offset" conv=notrunc status=none
recover "$name@1" --lazy
touch go
expect_exit 0
expect_eq "last word after the page was mended" ok "$(tail -n 1 "$OUT")"
[[ ! -e lost ]] || fail "memory was lost although the page was mended"
