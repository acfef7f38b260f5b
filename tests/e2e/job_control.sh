#!/usr/bin/env bash
# A program under ckptrun behaves towards its shell as without it: exit status, signals, Ctrl-C, Ctrl-Z, fg and bg.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# status_of COMMAND...: how `ckptrun COMMAND` ends.
status_of() {
  local status=0
  "$CKPT_BIN/ckptrun" -- "$@" >/dev/null 2>status.err || status=$?
  echo "$status"
}

expect_eq "status of true" 0 "$(status_of /bin/true)"
expect_eq "status of exit 3" 3 "$(status_of /bin/sh -c 'exit 3')"
expect_eq "status of exit 125" 125 "$(status_of /bin/sh -c 'exit 125')"
# shellcheck disable=SC2016  # the inner shell's pid
expect_eq "status after SIGTERM" 143 "$(status_of /bin/sh -c 'kill -TERM $$')"
# shellcheck disable=SC2016
expect_eq "status after SIGKILL" 137 "$(status_of /bin/sh -c 'kill -KILL $$')"
# shellcheck disable=SC2016
expect_eq "status after SIGSEGV" 139 "$(status_of /bin/sh -c 'kill -SEGV $$')"
expect_eq "status of a missing program" 127 "$(status_of "$WORK/not_there")"
expect_eq "lines about it" 1 "$(wc -l <status.err)"
expect_eq "status of a missing program in PATH" 127 "$(PATH=/usr/bin:/bin status_of not_there_either)"
expect_eq "status of a directory" 126 "$(status_of "$WORK")"
echo text >not_executable
expect_eq "status of a file without permission" 126 "$(status_of "$WORK/not_executable")"
expect_eq "lines about it" 1 "$(wc -l <status.err)"

# Signals to ckptrun reach the program, with their values; before and after a recovery.
check_signals() {
  kill -USR1 "$RUN_PID"
  wait_for_line "$OUT" '^signal USR1 value 0$'
  kill -TERM "$RUN_PID"
  wait_for_line "$OUT" '^signal TERM value 0$'
  kill -HUP "$RUN_PID"
  wait_for_line "$OUT" '^signal HUP value 0$'
  kill -WINCH "$RUN_PID"
  wait_for_line "$OUT" '^signal WINCH value 0$'
  /bin/kill --queue "$1" --signal RTMIN+3 "$RUN_PID"
  wait_for_line "$OUT" "^signal RT value $1\$"
}
start_run --name signals -- "$(program reports_signals)" 3 "$WORK/go"
wait_for_line "$OUT" '^ready$'
check_signals 4711
checkpoint signals
kill9_program
expect_eq "status after kill -9 of the program" 137 "$RUN_STATUS"
recover signals -v
wait_for_line "$ERR" resumed
check_signals 4712
touch go
expect_exit 3

# A stop that comes before ckptrun has got round to going on after the one before is not lost.
is_stopped() { [[ $(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status") == T ]]; }
rm -f go
start_run --name stops -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
find_program_pid
kill -STOP "$PROGRAM_PID"
wait_until "the stop of ckptrun" is_stopped "$RUN_PID"
kill -CONT "$PROGRAM_PID"
wait_for_growth "$OUT"
kill -STOP "$PROGRAM_PID"
wait_until "the second stop of the program" is_stopped "$PROGRAM_PID"
kill -CONT "$RUN_PID"
wait_until "the second stop of ckptrun" is_stopped "$RUN_PID"
is_stopped "$PROGRAM_PID" || fail "the program was continued although it had stopped once more"
kill -CONT "$RUN_PID"  # alone: it continues the program
wait_for_growth "$OUT"
touch go
expect_exit 0

# In a terminal, with a shell that does job control.
rm -f go
# shellcheck disable=SC2016  # for the shell in the terminal
"$PYTHON" "$(program drives_terminal.py)" /bin/bash --norc --noprofile -i <<EOT || fail "session in a terminal"
send PS1='prompt> '; unset PROMPT_COMMAND; cd $WORK
expect prompt>
send $CKPT_BIN/ckptrun --name terminal -- $CKPT_PROGRAMS/counts $WORK/go
expect count 3
key ctrl-z
expect Stopped
send echo sta''tus \$?
expect status 14[78]
send jobs
expect Stopped .*ckptrun
send fg
expect count [0-9]+
key ctrl-z
expect Stopped
send bg
expect count [0-9]+
send $CKPT_BIN/ckpt checkpoint terminal && echo checkpoint do''ne
expect checkpoint done
send fg
expect count [0-9]+
key ctrl-c
expect prompt>
send echo sta''tus \$?
expect status 130
send $CKPT_BIN/ckptrun --recover terminal
expect count [0-9]+
key ctrl-z
expect Stopped
send fg
expect count [0-9]+
key ctrl-\\
expect prompt>
send echo sta''tus \$?
expect status 131
send $CKPT_BIN/ckptrun --recover terminal
expect count [0-9]+
key ctrl-z
expect Stopped
send touch $WORK/go
send fg
expect ok
send exit
end
EOT
