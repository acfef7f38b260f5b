#!/usr/bin/env bash
# What `ckptrun` and `ckpt` make of names, versions, finished applications, and --recover-or-run.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

counts=$(program counts)

start_counts() {
  start_run "$@" "$counts" "$WORK/go"
  wait_for_line "$OUT" '^count '
}

# Fresh runs of the same command take the next free name while one runs.
start_counts
first=$RUN_PID
wait_until "the first application" test -d store/counts
start_counts
second=$RUN_PID
expect_eq "applications" "counts counts-2" "$(ckpt list --json | json '" ".join(a["name"] for a in data["applications"])')"
expect_eq "states" "running running" "$(ckpt list --json | json '" ".join(a["state"] for a in data["applications"])')"
checkpoint counts-2
checkpoint counts
touch go
wait "$first" "$second"
rm go

# Finished: plain --recover says so, naming a version overrides.
expect_refusal 125 'counts has finished \(exit status 0\);.*counts@1' "$CKPT_BIN/ckptrun" --recover counts
expect_refusal 125 'counts.* has finished.*;' "$CKPT_BIN/ckptrun" --recover
expect_eq "state" "finished" "$(ckpt show counts --json | json 'data["state"]')"
recover counts@1
wait_for_line "$OUT" '^count '
kill9_program

# The default is the application checkpointed last.
recover
wait_for_line "$OUT" '^count '
expect_eq "which runs" "counts" \
  "$(ckpt list --json | json '" ".join(a["name"] for a in data["applications"] if a["state"] == "running")')"
kill9_program

# --recover-or-run starts what has nothing to resume, resumes what has.
start_counts --name batch --recover-or-run --
checkpoint batch
last=$(sed -n 's/^count //p' "$OUT" | tail -n 1)
kill9_program
start_counts --name batch --recover-or-run --
[[ $(sed -n 's/^count //p' "$OUT" | head -n 1) -gt $((last - 50)) ]] || fail "started from the beginning"
expect_match "first line of what was resumed" '^count ' "$(head -n 1 "$OUT")"
touch go
expect_exit 0
rm go
start_counts --name batch --recover-or-run --
wait_for_line "$OUT" '^ready$'
kill9_program

# Versions: --keep keeps the newest, and the last of every earlier run.
start_run --name kept --keep 2 -- "$counts" "$WORK/go"
wait_for_line "$OUT" '^count '
for _ in 1 2 3 4; do checkpoint kept; done
versions() { ckpt show "$1" --json | json '" ".join(str(v["version"]) for v in data["versions"])'; }
expect_eq "versions kept" "3 4" "$(versions kept)"
kill9_program
recover kept
wait_for_line "$OUT" '^count '
for _ in 1 2 3; do checkpoint kept; done
expect_eq "versions kept in the second run" "4 6 7" "$(versions kept)"
kill9_program

# Any version recovers; any can be removed, the others still recover.
recover kept@4
wait_for_line "$OUT" '^count '
kill9_program
ckpt rm kept@6
expect_eq "versions after a removal" "4 7" "$(versions kept)"
recover kept@7
wait_for_line "$OUT" '^count '
expect_refusal 125 'kept.*;' "$CKPT_BIN/ckpt" rm kept
ckpt stats kept --json | json 'data["versions"][0]["frozen_time_us"]' >/dev/null
(( $(ckpt stats kept --json | json 'data["content_bytes"]') > 0 )) || fail "the versions hold nothing"
kill9_program
ckpt rm kept
expect_refusal 125 'kept.*;' "$CKPT_BIN/ckptrun" --recover kept

# Every command explains itself.
for command in "ckptrun" "ckpt" "ckpt list" "ckpt show" "ckpt checkpoint" "ckpt suspend" "ckpt recover" "ckpt rm" "ckpt stats"; do
  read -ra words <<<"$command"
  "$CKPT_BIN/${words[0]}" "${words[@]:1}" --help >help.out 2>help.err || fail "$command --help fails"
  [[ -s help.out && ! -s help.err ]] || fail "$command --help says nothing, or on standard error"
done
expect_match "version" '[0-9]+\.[0-9]+' "$("$CKPT_BIN/ckptrun" --version)"
expect_match "version" '[0-9]+\.[0-9]+' "$("$CKPT_BIN/ckpt" --version)"
