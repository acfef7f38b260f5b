#!/usr/bin/env bash
# Versions have names, are compared, and go from store to store: whole, as what changed, and after an interruption. What
# was sent resumes there as it would have here; space of removed versions comes back.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

holds=$(program holds_256_mib)
versions() { ckpt --store "$1" list app --json | json '" ".join(str(v["version"]) for v in data["versions"])'; }
size_of() { stat -c %s "$1"; }

start_run --name app --keep 'last 2, hourly 2' -- "$holds" 8 "$WORK/go"
wait_for_line "$OUT" '^count '
checkpoint app
ckpt tag app@1 start
for _ in 1 2 3; do
  wait_for_growth "$OUT" 2
  checkpoint app
done
expect_eq "versions kept" "1 3 4" "$(versions store)"
expect_eq "tags" "start" "$(ckpt list app --json | json '" ".join(data["versions"][0]["tags"])')"
expect_refusal 125 'tagged start; untag it first: ckpt untag app start' "$CKPT_BIN/ckpt" rm app@start
expect_refusal 125 'no version of app is tagged end;' "$CKPT_BIN/ckpt" show app@end
expect_refusal 125 "'5' would be taken for a version;" "$CKPT_BIN/ckpt" tag app@3 5
kill9_program

# What changed: nothing from a version to itself, some of the heap from one to the next.
expect_eq "pages that differ from themselves" 0 "$(ckpt diff app@4 app@4 --json | json 'data["changed_pages"]')"
changed=$(ckpt diff app@3 app@4 --json | json 'data["changed_pages"]')
(( changed > 0 )) || fail "nothing changed between the versions"
expect_match "differences" 'changed .* pages' "$(ckpt diff app@start app@4)"

# There and back again: through a pipe and a file.
other=$WORK/other
ckpt send app@start | "$CKPT_BIN/ckpt" --store "$other" receive >received
expect_eq "what was received" "app@1" "$(cat received)"
ckpt send app@4 --have 1,2 -o whole.ckpt
ckpt send app@4 --since start -o changed.ckpt
cmp whole.ckpt changed.ckpt || fail "--have chose another base than --since"
expect_refusal 125 'what changed since app@1, .*;' "$CKPT_BIN/ckpt" --store "$WORK/third" receive -i changed.ckpt
"$CKPT_BIN/ckpt" --store "$other" receive -i changed.ckpt >received
expect_eq "what was received" "app@4" "$(cat received)"
expect_eq "received again" "app@4 was here already" "$("$CKPT_BIN/ckpt" --store "$other" receive -i changed.ckpt)"
expect_eq "sound versions there" "[1, 4]" "$(ckpt --store "$other" verify --json | json 'data[0]["sound"]')"
CKPT_STORE=$other recover app@4
wait_for_lines "$OUT" 3
touch go
expect_exit 0
expect_eq "last word of the program" ok "$(tail -n 1 "$OUT")"
rm go

# Interrupted: what arrived is kept, and is not sent again.
ckpt send app@3 -o third.ckpt
half=$(( $(size_of third.ckpt) / 2 ))
head -c "$half" third.ckpt >half.ckpt
expect_refusal 125 'ended before its end; what arrived is kept: go on with .ckpt send app@3 --offset [0-9]+' \
  "$CKPT_BIN/ckpt" --store "$other" receive -i half.ckpt
expect_eq "versions after an interrupted transfer" "1 4" "$(versions "$other" | cut -d' ' -f1-2)"
offset=$("$CKPT_BIN/ckpt" --store "$other" receive --partial --json | json 'data[0]["offset"]')
ckpt send app@3 --offset "$offset" -o rest.ckpt
(( $(size_of rest.ckpt) < half + 4096 * 300 )) || fail "what had arrived was sent again"
CKPT_STORE=$other ckpt receive -i rest.ckpt >received
expect_match "what was received" '^app@[0-9]+$' "$(cat received)"
CKPT_STORE=$other recover "$(cat received)"
wait_for_lines "$OUT" 3
kill9_program
expect_eq "left of transfers" "" "$(find "$other" -name '.receive-*')"

# Removed versions leave what others need of them; gc gives back the rest.
ckpt untag app start
ckpt rm app@1
ckpt rm app@3
ckpt gc app --json >gc.json
json 'data[0]["bytes_freed"]' <gc.json >/dev/null
expect_eq "sound versions after gc" "[4]" "$(ckpt verify app --json | json 'data[0]["sound"]')"
recover app
wait_for_lines "$OUT" 3
# A branch: the run from the older version stands beside the newer one.
checkpoint app
kill9_program
expect_eq "tree" "4 5" "$(versions store)"
expect_refusal 125 'no stream of .ckpt send.' "$CKPT_BIN/ckpt" receive -i /dev/null
