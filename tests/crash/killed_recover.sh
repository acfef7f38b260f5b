#!/usr/bin/env bash
# ckptrun is killed at random moments while it rebuilds a program: either the program runs, whole, or nothing is left,
# and the version can be recovered as before.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"

kills=$(share_of 200 15)
name=owners
owners=$(program keeps_mutex_owners)

# The program, alone or with the first process of its namespace; or nothing.
settled() {
  local pid exe
  local programs=0 firsts=0
  for pid in $(marked_pids); do
    exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || continue
    if [[ $exe == "$owners" ]]; then
      programs=$((programs + 1))
    elif [[ $(cat "/proc/$pid/comm" 2>/dev/null) == ckpt-init ]]; then
      firsts=$((firsts + 1))
    else
      return 1
    fi
  done
  (( programs == 1 || firsts == 0 ))
}

no_process_left() { [[ -z $(marked_pids) ]]; }

end_programs() {
  local pid
  for pid in $(marked_pids); do
    [[ $(readlink "/proc/$pid/exe" 2>/dev/null) != "$owners" ]] || kill -KILL "$pid" 2>/dev/null || true
  done
  wait_until "the end of all processes" no_process_left
}

start_run --name "$name" -- "$owners" "$WORK/go"
wait_for_line "$OUT" '^ready$'
checkpoint "$name"
kill9_program

for pids in auto namespace new; do
  for (( i = 0; i < kills; i++ )); do
    recover "$name@1" --pids "$pids"
    sleep "0.0$(printf %02d $((RANDOM % 45)))"
    kill -KILL "$RUN_PID" 2>/dev/null || true
    wait_run
    wait_until "an end of what a killed ckptrun left: $(marked_pids)" settled
    end_programs
  done
  recover "$name@1" --pids "$pids"
  touch go
  wait_run
  expect_eq "the program after $kills killed recoveries: $(cat "$OUT" "$ERR")" ok "$(tail -n 1 "$OUT")"
  rm go
  echo "--pids $pids: $kills recoveries killed, nothing half made left behind"
done
