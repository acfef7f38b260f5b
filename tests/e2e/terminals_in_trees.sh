#!/usr/bin/env bash
# Trees with a terminal inside: a shell and an interpreter below script(1), a shell in a tmux server. What was typed before the
# checkpoint is known after it, what was typed later is not.
# shellcheck disable=SC2016 # what is typed is for the other shell
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# below_script NAME COMMAND ASSIGN CHANGE ASK QUIT [PIDS]: types the lines, the second after the checkpoint.
below_script() {
  local name=$1 command=$2
  command -v script >/dev/null || fail "script is missing; run scripts/deps.sh"
  mkfifo "$name.in"
  exec 7<>"$name.in"
  RUN_STDIN=$name.in start_run --name "$name" -- script -q -c "$command" "$name.typescript"
  wait_for_line "$OUT" '>'
  echo "$3" >&7
  wait_for_line "$OUT" 'value is 41'
  checkpoint "$name"
  echo "$4" >&7
  wait_for_line "$OUT" 'value is 99'
  kill9_family
  RUN_STDIN=$name.in recover "$name" -v --pids "${7:-auto}"
  wait_for_line "$ERR" "resumed $name@"
  echo "$5" >&7
  wait_for_line "$OUT" 'value is 42'
  echo "$6" >&7
  expect_exit 0
  exec 7>&-
  echo "$name: went on"
}

# A child of the shell finds the terminal by its name, and what is in the foreground there.
child_has_terminal() {
  mkfifo child.in
  exec 7<>child.in
  cat >asks.py <<'SCRIPT'
import os
print("asks", 40 + 2, flush=True)
input()
terminal = os.open("/dev/tty", os.O_RDWR)
os.write(terminal, b"has it: %s\n" % str(os.tcgetpgrp(terminal) == os.getpgrp()).encode())
SCRIPT
  RUN_STDIN=child.in start_run --name child -- script -q -c 'PS1="> " bash --norc -i' child.typescript
  wait_for_line "$OUT" '>'
  echo "$PYTHON asks.py" >&7
  wait_for_line "$OUT" 'asks 42'
  checkpoint child
  kill9_family
  RUN_STDIN=child.in recover child -v --pids "$1"
  wait_for_line "$ERR" 'resumed child@'
  echo go on >&7
  wait_for_line "$OUT" 'has it: True'
  echo 'exit 0' >&7
  expect_exit 0
  exec 7>&-
  rm child.in
  echo "child, $1: has its terminal"
}

in_tmux() { tmux -S "$WORK/tmux" "$@"; }
shows() { in_tmux capture-pane -p -t one 2>/dev/null | grep -q "$1"; }

tmux_server() {
  command -v tmux >/dev/null || fail "tmux is missing; run scripts/deps.sh"
  export SHELL=/bin/sh  # without it tmux takes the user's from the password file, which for this user may be nologin
  start_run --name tmux -- tmux -S "$WORK/tmux" -f /dev/null -D
  wait_until "the server" test -S "$WORK/tmux"
  wait_until "a session" in_tmux new-session -d -s one 'PS1="> " bash --norc -i' 2>/dev/null
  in_tmux send-keys -t one 'value=41; echo "value is" $value' Enter
  wait_until "what the shell says" shows '^value is 41'
  checkpoint tmux
  in_tmux send-keys -t one 'value=99; echo "value is" $value' Enter
  wait_until "what the shell says" shows '^value is 99'
  kill9_family
  recover tmux -v
  wait_for_line "$ERR" 'resumed tmux@'
  in_tmux send-keys -t one 'echo "value is" $((value + 1))' Enter
  wait_until "what the shell says" shows '^value is 42'
  in_tmux kill-server
  expect_exit 0
  echo "tmux: went on"
}

below_script interpreter "$PYTHON -iq" 'x = 41; print("value", "is", x)' 'x = 99; print("value", "is", x)' 'print("value", "is", x + 1)' 'exit()'
below_script shell 'PS1="> " bash --norc -i' 'x=41; echo value is $x' 'x=99; echo value is $x' 'echo value is $((x + 1))' 'exit 0'
# is_in_foreground COMMAND: it has its terminal. (A shell says what it brings there before it does.)
is_in_foreground() {
  local pid fields
  for pid in $(marked_pids); do
    [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == "$1 " ]] || continue
    read -ra fields < <(sed 's/.*) //' "/proc/$pid/stat")
    (( fields[2] != fields[5] )) || return 0  # process group, and that in the foreground
  done
  return 1
}

# Jobs that a shell knows by their old ids: one is killed, the other comes into the foreground, where Ctrl-Z stops it.
jobs_under_new_ids() {
  command -v script >/dev/null || { echo "jobs: script is not installed"; return; }
  mkfifo jobs.in
  exec 7<>jobs.in
  RUN_STDIN=jobs.in start_run --name jobs -- script -q -c 'PS1="> " bash --norc -i' jobs.typescript
  wait_for_line "$OUT" '>'
  echo 'sleep 1000 & sleep 1001 & echo started $((40 + 2))' >&7
  wait_for_line "$OUT" 'started 42'
  checkpoint jobs
  kill9_family
  RUN_STDIN=jobs.in recover jobs -v --pids new
  wait_for_line "$ERR" 'resumed jobs@'
  echo 'kill %1; wait %1; echo ended $?; fg %2' >&7
  wait_for_line "$OUT" 'ended 143'
  wait_for_line "$OUT" '^sleep 1001'
  wait_until "the job in the foreground" is_in_foreground "sleep 1001"
  printf '\032' >&7
  # A shell with stopped jobs does not end at the first word.
  echo 'echo then $?; kill -KILL %2; wait -f %2; echo gone $((40 + 3))' >&7
  wait_for_line "$OUT" 'then 148'
  wait_for_line "$OUT" 'gone 43'
  echo 'exit 0' >&7
  expect_exit 0
  exec 7>&-
  echo "jobs: went on"
}

for pids in auto new; do child_has_terminal "$pids"; done
jobs_under_new_ids
tmux_server
