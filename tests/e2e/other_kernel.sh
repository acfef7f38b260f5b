#!/usr/bin/env bash
# A program goes on under another kernel, whose vDSO is another one: rehearsed with versions that say of themselves that
# they come from there. Every function of the vDSO is called by several threads all the time, at the old addresses.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# recover_as_foreign NAME: from a version that is said to be another kernel's. A thread may have been inside of the vDSO
# at one version; versions are not that rare.
recover_as_foreign() {
  local version foreign
  for version in $(newest_versions_of "$1"); do
    foreign=$("$(program substitutes_vdso)" "$CKPT_STORE" "$1" "$version")
    recover "$1@$foreign" -v
    wait_until "what becomes of $1@$foreign" decided
    if grep -q "^ckptrun: resumed" "$ERR"; then return; fi
    wait_run
    expect_match "the reason of the refusal" 'thread [0-9]+ was inside the vDSO of another kernel \(5.0.0-another\)' "$(cat "$ERR")"
  done
  fail "a thread was inside of the vDSO at each version"
}

decided() { grep -q "resumed $NAME@" "$ERR" || run_has_ended; }

newest_versions_of() {
  ckpt list "$1" --json | json '*sorted((version["version"] for version in data["versions"]), reverse=True)' | xargs -n 1
}

# The old code is there, as plain memory, and the kernel's own elsewhere.
expect_both_vdsos() {
  find_program_pid
  expect_eq "vDSOs of the kernel" 1 "$(grep -c '\[vdso\]$' "/proc/$PROGRAM_PID/maps")"
  grep -Eq "^0*$old_vdso-[0-9a-f]+ r-xp 00000000 00:00 0 *$" "/proc/$PROGRAM_PID/maps" \
    || fail "nothing is where the old vDSO was, at $old_vdso: $(cat "/proc/$PROGRAM_PID/maps")"
}

NAME=app
start_run --name app -- "$(program calls_vdso)" "$WORK/go"
wait_for_line "$OUT" '^ready$'
find_program_pid
old_vdso=$(sed -n 's/-.*\[vdso\]$//p' "/proc/$PROGRAM_PID/maps")
for (( i = 0; i < 10; i++ )); do checkpoint app; done
kill9_program

recover_as_foreign app
expect_both_vdsos
checkpoint app
kill9_both

recover app -v  # once more under this kernel, the old code still leading to where the kernel's now is
wait_for_line "$ERR" "resumed app@"
expect_both_vdsos
for (( i = 0; i < 10; i++ )); do checkpoint app; done
kill9_program

recover_as_foreign app  # and from there to a third one
touch go
expect_exit 0
expect_eq "what the program found: $(head -n 3 "$OUT")" ok "$(tail -n 1 "$OUT")"
