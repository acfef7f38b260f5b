#!/usr/bin/env bash
# --files rollback: after a kill, files that the program writes come back as they were at the checkpoint, whatever was
# written, removed or made since; what that replaces is kept. --files keep leaves them as they are.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=$(share_of 100 6)
mkdir files
start_run --name app --files rollback --every 50ms -- "$PYTHON" "$(program writes_files.py)" "$WORK/files" "$WORK/go"
wait_for_line "$OUT" '^count '
checkpoint app
for (( round = 0; round < rounds; round++ )); do
  wait_for_growth "$OUT" $((round % 3 * 7 + 3))
  kill9_program
  recover app
  wait_for_lines "$OUT" 5
  expect_eq "what the program found" "" "$(grep DIFFERS "$OUT" || true)"
done
# An older version, when files have grown, are gone, and others stand beside them.
checkpoint app
version=$(ckpt show app --json | "$PYTHON" -c 'import json, sys; print(json.load(sys.stdin)["shown_version"])')
ckpt tag "app@$version" mark
lines=$(wc -l <files/log)
wait_for_growth "$OUT" 20
kill9_program
(( $(wc -l <files/log) > lines )) || fail "the log did not grow"
rm files/records
echo journal >files/steps.db-other
recover app@mark
wait_for_lines "$OUT" 5
expect_eq "what the program found" "" "$(grep DIFFERS "$OUT" || true)"
expect_match "messages of ckptrun" "files/log was cut off after [0-9]+ bytes, as it was at app@$version; what followed is in $WORK/files/app@$version-replaced.log" "$(cat "$ERR")"
expect_match "messages of ckptrun" "files/records was made again as it was at app@$version" "$(cat "$ERR")"
expect_eq "what was beside the database" journal "$(cat "files/app@$version-replaced.steps.db-other")"
expect_match "lines cut off" '^step [0-9]+$' "$(head -n 1 "files/app@$version-replaced.log")"
touch go
expect_exit 0
expect_eq "last word of the program" ok "$(tail -n 1 "$OUT")"

# Left alone on request: the program finds files of later, or, stopped inside of a transaction, its journal is missing.
size=$(stat -c %s files/log)
rm go  # or it ends before it has looked
recover app@mark --files keep
wait_run
(( RUN_STATUS != 0 )) || fail "the program did not notice that its files are of later"
(( $(stat -c %s files/log) >= size )) || fail "the log was cut off"
# A log that lost what it had cannot be put back.
: >files/log
expect_refusal 125 'log has 0 bytes, .* put it back, or recover with --files keep' "$CKPT_BIN/ckptrun" --recover app@mark
