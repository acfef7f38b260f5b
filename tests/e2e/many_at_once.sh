#!/usr/bin/env bash
# Two supervisors, and list, show, verify, stats, tag, rm, gc, send and receive at once on one store: nothing is damaged, and
# what cannot be done says that somebody else was there before.
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rounds=$(share_of 300 15)

cat >keeps_sum.py <<'SCRIPT'
import os, random, sys, time

PAGE = 4096
pages = [bytearray(os.urandom(PAGE)) for _ in range(2000)]
total = sum(page[0] for page in pages)
while not os.path.exists("go"):
    for _ in range(50):
        page = random.choice(pages)
        total -= page[0]
        page[:] = os.urandom(PAGE)
        total += page[0]
    time.sleep(0.005)
sys.exit(0 if total == sum(page[0] for page in pages) else 3)
SCRIPT

# versions_of NAME: their numbers, oldest first.
versions_of() {
  { ckpt list "$1" --json | json '*(version["version"] for version in data["versions"])' | xargs -rn 1; } 2>/dev/null || true
}

# at_the_same_time COMMAND ARGS...: again and again, in the background; what it says goes to said.COMMAND.N.
jobs_started=0
workers=()
at_the_same_time() {
  local said=said.$1.$((jobs_started++))
  for (( i = 0; i < rounds; i++ )); do "$@" >>"$said" 2>&1 || true; done &
  workers+=("$!")
}

remove_one() {
  local version
  version=$(versions_of "$1" | shuf -n 1)
  [[ -z $version ]] || ckpt rm "$1@$version"
}

tag_one() {
  local version
  version=$(versions_of "$1" | shuf -n 1)
  if [[ -n $version ]]; then ckpt tag "$1@$version" kept && ckpt untag "$1" kept; fi
}

# From one store to another one, and back under another name.
send_one() {
  ckpt send "$1" >"$WORK/stream.$BASHPID" && CKPT_STORE=$WORK/elsewhere ckpt receive -i "$WORK/stream.$BASHPID"
  rm -f "$WORK/stream.$BASHPID"
}

look() { ckpt "$@" >/dev/null; }

# With what it found, if it found something.
check_one() { ckpt verify "$1" >"$WORK/verified.$BASHPID" || sed 's/^/ckpt verify: /' "$WORK/verified.$BASHPID" >&2; }

names=(one two)
for name in "${names[@]}"; do
  "$CKPT_BIN/ckptrun" --name "$name" --every 50ms --keep 6 -- "$PYTHON" keeps_sum.py 2>"err.$name" </dev/null &
  runs+=("$!")
done
has_versions() { (( $(versions_of one | wc -l) > 2 && $(versions_of two | wc -l) > 2 )); }
wait_until "versions of both" has_versions

for name in "${names[@]}"; do
  at_the_same_time look list "$name"
  at_the_same_time look show "$name" --json
  at_the_same_time look stats "$name"
  at_the_same_time check_one "$name"
  at_the_same_time look gc "$name"
  at_the_same_time remove_one "$name"
  at_the_same_time tag_one "$name"
  at_the_same_time send_one "$name"
done
at_the_same_time look list
wait "${workers[@]}"

touch go
for number in 0 1; do
  status=0
  wait "${runs[number]}" || status=$?
  expect_eq "exit status of ${names[number]}" 0 "$status"
done

others='is being written|is being received already|was removed|no version|has no checkpoint|is tagged|is not tagged|in use|no longer there|is already there'
unexpected=$(cat said.* | grep -E '^ckpt' | grep -vE "$others" | sort | uniq -c || true)
expect_eq "what commands complained of" '' "$unexpected"
expect_eq "what supervisors complained of" '' \
  "$(grep -hvE "take longer than the period|another checkpoint of '(one|two)' is being written" err.one err.two || true)"

rm -f go
for name in "${names[@]}"; do
  ckpt verify "$name" >"verified.$name" || fail "verify $name: $(cat "verified.$name")"
  (( $(versions_of "$name" | wc -l) > 0 )) || continue
  recover "$name@$(versions_of "$name" | tail -n 1)"
  touch go
  expect_exit 0
  rm go
done
