# Helpers for the scripts in tests/e2e and tests/crash. Source it first:
#
#   source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
#
# Environment:
#   CKPT_BIN            directory of ckptrun and ckpt           (default: build/release/bin of this checkout)
#   CKPT_PROGRAMS       directory of the small test programs    (default: build/release/tests/programs)
#   CKPT_TEST_DEADLINE  seconds that any one wait may take      (default: 60)
#   CKPT_SOAK=full      run full counts instead of a share      (see share_of)
#   CKPT_KEEP=1         keep the temporary directory
#
# What a script gets: strict mode; $WORK, a temporary directory that is its current directory; $CKPT_STORE inside it;
# $PYTHON, $LUA, $JAVA; and at its end, however it ends, all its processes are gone and so is $WORK.
# State of the run in the foreground of the script: $RUN_PID, $OUT, $ERR, and $RUN_STATUS once it has ended.
#
# Comment lines near the top of a script that ctest reads (tests/e2e/CMakeLists.txt):
#   # timeout: 120      seconds (default 120); multiplied in a soak
#   # serial            not together with other tests
#
# Hard rules:
#  1. Processes are ended by pid, only those that carry this script's mark in their environment.
#  2. Every wait is for an event, with a deadline; none is for time to pass.
#  3. A check that fails says what was expected, what was found, and the command that repeats it.
# shellcheck shell=bash

set -euo pipefail
ulimit -c 0

# Descriptors that whoever started us left open would be inherited by the program, and belong to no checkpoint.
# bash keeps its script at 255.
close_inherited_descriptors() {
  local fd
  for fd in "/proc/$BASHPID/fd/"*; do
    fd=${fd##*/}
    ((fd <= 2 || fd == 255)) || eval "exec $fd>&-"
  done
}

close_inherited_descriptors

CKPT_TEST_SCRIPT=$(realpath "$0")
CKPT_TEST_ROOT=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
export CKPT_BIN=${CKPT_BIN:-$CKPT_TEST_ROOT/build/release/bin}
export CKPT_PROGRAMS=${CKPT_PROGRAMS:-$CKPT_TEST_ROOT/build/release/tests/programs}
CKPT_TEST_DEADLINE=${CKPT_TEST_DEADLINE:-60}

# shellcheck disable=SC2034  # used by the scripts
PYTHON=/usr/bin/python3 LUA=/usr/bin/lua5.4 JAVA=/usr/bin/java

WORK=$(mktemp -d "${TMPDIR:-/tmp}/ckpt-test.XXXXXX")
WORK=$(realpath "$WORK")
cd "$WORK"
export CKPT_TEST_MARK=$WORK
export CKPT_STORE=$WORK/store
export XDG_STATE_HOME=$WORK/state

CAUSE=$WORK/cause  # why the script fails: shown at the very end, also where a caller hides standard error
: >"$CAUSE"

RUN_PID='' RUN_STATUS='' OUT='' ERR='' RUN_COUNT=0
MEMORY_GROUP=''  # of make_memory_group
RUN_UNDER=()  # a command that executes ckptrun: start_run goes through it

# --- ending ---------------------------------------------------------------------------------------------------------

# Processes that this script started, directly or not: they carry its mark, also after a restore.
marked_pids() {
  local file pid
  for file in $(grep -lsF "CKPT_TEST_MARK=$WORK" /proc/[0-9]*/environ || true); do
    pid=${file#/proc/}
    pid=${pid%/environ}
    [[ $pid == "$$" || ! -d /proc/$pid ]] || echo "$pid"
  done
}

# A supervisor may be building a process while we look, hence the rounds. Helpers of this very shell (the subshell that
# lists) are gone by the time of the kill, which is then refused.
end_own_processes() {
  local round pids
  for round in 1 2 3 4 5 6 7 8; do
    pids=$(marked_pids)
    [[ -n $pids ]] || break
    # shellcheck disable=SC2086  # one word per pid
    kill -KILL $pids 2>/dev/null || true
    (( round == 1 )) || sleep 0.01
  done
  wait 2>/dev/null || true
}

reproduce() {
  local as=''
  (( EUID == 0 )) || as="setpriv --reuid=$EUID --regid=$(id -g) --clear-groups "
  echo "reproduce: ${as}env CKPT_BIN=$CKPT_BIN CKPT_PROGRAMS=$CKPT_PROGRAMS${CKPT_SOAK:+ CKPT_SOAK=$CKPT_SOAK}" \
    "CKPT_KEEP=1 bash $CKPT_TEST_SCRIPT"
}

show_outputs() {
  local file
  for file in "$WORK"/out.* "$WORK"/err.*; do
    [[ -s $file ]] || continue
    echo "--- last lines of ${file##*/}"
    tail -n 15 "$file"
  done
}

# Processes that have been killed are in it until they have given everything back.
remove_memory_group() {
  local end=$((SECONDS + 5))
  [[ -n $MEMORY_GROUP ]] || return 0
  until rmdir "$MEMORY_GROUP" 2>/dev/null || (( SECONDS > end )); do sleep 0.05; done
}

at_exit() {
  local status=$?
  trap - EXIT
  set +e
  if (( status != 0 && status != 77 )); then
    { show_outputs; reproduce; echo "FAILED ${CKPT_TEST_SCRIPT##*/} (status $status) as uid $EUID"; tail -n 6 "$CAUSE"; } >&2
  fi
  end_own_processes
  remove_memory_group
  cd /
  if [[ ${CKPT_KEEP:-} == 1 ]]; then echo "kept $WORK" >&2; else rm -rf "$WORK"; fi
  exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'echo "${BASH_SOURCE[0]##*/}:$LINENO: failed: $BASH_COMMAND" | tee -a "$CAUSE" >&2' ERR
set -o errtrace

# --- checks ---------------------------------------------------------------------------------------------------------

fail() {
  echo "${BASH_SOURCE[-1]##*/}: $*" | tee -a "$CAUSE" >&2
  exit 1
}

# skip REASON: this machine or user cannot show it; ctest reports it as skipped.
skip() {
  echo "SKIPPED: $*"
  exit 77
}

# expect_eq WHAT EXPECTED ACTUAL: of several lines, those that differ are shown.
expect_eq() {
  [[ $2 != "$3" ]] || return 0
  [[ $2 != *$'\n'* ]] || fail "$1: - expected, + found: $(diff -U0 <(echo "$2") <(echo "$3") | tail -n +3 || true)"
  fail "$1: expected '$2', found '$3'"
}

# expect_match WHAT REGEX ACTUAL
expect_match() {
  [[ $3 =~ $2 ]] || fail "$1: expected a match of '$2', found '$3'"
}

# expect_refusal STATUS REGEX COMMAND...: exits with STATUS and says REGEX in one line on standard error.
expect_refusal() {
  local status=0 wanted=$1 regex=$2
  shift 2
  "$@" >refusal.out 2>refusal.err </dev/null || status=$?
  expect_eq "exit status of: $*" "$wanted" "$status"
  expect_eq "lines on standard error of: $*" 1 "$(wc -l <refusal.err)"
  expect_match "message of: $*" "$regex" "$(cat refusal.err)"
}

# expect_only_counts WHAT: a program that tells what it finds wrong with its memory has found nothing. A kill may cut the
# last line short.
expect_only_counts() {
  expect_eq "what $1 found" "" "$(grep -vE '^(ready|c|co|cou|coun|count|count [0-9]*|o|ok|)$' "$OUT" || true)"
}

# share_of FULL SHARE: how often to do something: FULL in a soak, SHARE else.
share_of() {
  if [[ ${CKPT_SOAK:-} == full ]]; then echo "$1"; else echo "$2"; fi
}

# program NAME: path of a small test program.
program() {
  [[ -e $CKPT_PROGRAMS/$1 ]] || fail "$CKPT_PROGRAMS/$1 is missing; build the target $1"
  echo "$CKPT_PROGRAMS/$1"
}

# --- waiting --------------------------------------------------------------------------------------------------------

# wait_until WHAT COMMAND...: polls COMMAND until it succeeds; fails at the deadline.
wait_until() {
  local what=$1 end=$((SECONDS + CKPT_TEST_DEADLINE)) looks=0
  shift
  until "$@"; do
    (( SECONDS < end )) || fail "waited $CKPT_TEST_DEADLINE s for $what"
    if (( ++looks < 30 )); then pause 0.01; else pause 0.05; fi
  done
}

# pause SECONDS: without a process of its own. Tests that wait beside each other would keep a processor busy with those.
mkfifo "$WORK/.never"
pause() { read -rt "$1" <>"$WORK/.never" || true; }

run_is_alive() { [[ -n $RUN_PID ]] && kill -0 "$RUN_PID" 2>/dev/null; }

line_or_end() {
  local alive=1
  [[ -z $RUN_PID ]] || run_is_alive || alive=0  # looked at before the file: what the run wrote last is still seen
  grep -qsE -- "$2" "$1" && return 0
  (( alive )) || fail "ckptrun ended before '$2' appeared in $1"
  return 1
}

# wait_for_line FILE REGEX: until FILE has a line matching the extended REGEX; fails at once if
# the run ends without it.
wait_for_line() {
  wait_until "'$2' in $1" line_or_end "$1" "$2"
}

line_count() {
  if [[ -e $1 ]]; then wc -l <"$1"; else echo 0; fi
}

has_lines() {
  local alive=1
  local -a lines_there=()
  [[ -z $RUN_PID ]] || run_is_alive || alive=0
  [[ ! -e $1 ]] || mapfile lines_there <"$1"
  # The last one may not be complete yet.
  (( ${#lines_there[@]} == 0 )) || [[ ${lines_there[-1]} == *$'\n' ]] || unset 'lines_there[-1]'
  (( ${#lines_there[@]} < $2 )) || return 0
  (( alive )) || fail "ckptrun ended before $1 had $2 lines"
  return 1
}

# wait_for_lines FILE COUNT: until FILE has at least COUNT complete lines.
wait_for_lines() {
  wait_until "$2 lines in $1" has_lines "$1" "$2"
}

# wait_for_growth FILE [LINES]: until FILE has LINES (default 3) more lines than now.
wait_for_growth() {
  wait_for_lines "$1" $(( $(line_count "$1") + ${2:-3} ))
}

newest_version_file() { find "$CKPT_STORE/$1" -name 'v*.ckpt' -printf '%f\n' 2>/dev/null | sort | tail -n 1; }

# has_version_after NAME FILE: there is a newer version than that of FILE; fails if the run has ended. For wait_until.
has_version_after() {
  run_is_alive || fail "ckptrun ended: $(tail -n 3 "$OUT" "$ERR")"
  [[ $(newest_version_file "$1") > $2 ]]
}

# order COMMAND REGEX: a program that takes orders from the directory $ORDERS executes COMMAND, and prints a line that
# matches REGEX in $OUT. ORDERS_GIVEN counts them.
ORDERS=
ORDERS_GIVEN=0
new_orders() {
  ORDERS=$WORK/orders
  ORDERS_GIVEN=0
  mkdir "$ORDERS"
}
order() {
  ORDERS_GIVEN=$((ORDERS_GIVEN + 1))
  echo "$1" >"$ORDERS/do.$ORDERS_GIVEN.new"
  mv "$ORDERS/do.$ORDERS_GIVEN.new" "$ORDERS/do.$ORDERS_GIVEN"
  wait_for_line "$OUT" "$2"
}

# --- limits ---------------------------------------------------------------------------------------------------------

# make_memory_group MIB: $MEMORY_GROUP is a memory cgroup with this limit, page cache included, and without swap; false
# where none can be made. IN_MEMORY_GROUP is a command that executes its arguments there.
IN_MEMORY_GROUP=()
make_memory_group() {
  local parent=/sys/fs/cgroup/memory limit_file=memory.limit_in_bytes
  if [[ ! -d $parent ]]; then
    parent=/sys/fs/cgroup limit_file=memory.max
    grep -qw memory "$parent/cgroup.subtree_control" 2>/dev/null || return 1
  fi
  mkdir "$parent/ckpt-test.$$" 2>/dev/null || return 1
  MEMORY_GROUP=$parent/ckpt-test.$$
  echo "$(( $1 << 20 ))" 2>/dev/null >"$MEMORY_GROUP/$limit_file" || return 1
  [[ ! -e $MEMORY_GROUP/memory.swap.max ]] || echo 0 >"$MEMORY_GROUP/memory.swap.max"
  # shellcheck disable=SC2016,SC2034  # of the inner shell; used by the scripts
  IN_MEMORY_GROUP=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$MEMORY_GROUP")
}

# --- running --------------------------------------------------------------------------------------------------------

# start_run ARGS...: `ckptrun ARGS...` in the background. Standard output and error go to new files $OUT and $ERR
# (out.N and err.N of the N-th run), so that each incarnation can be looked at by itself; standard input is $RUN_STDIN,
# /dev/null by default.
start_run() {
  RUN_COUNT=$((RUN_COUNT + 1))
  OUT=$WORK/out.$RUN_COUNT ERR=$WORK/err.$RUN_COUNT RUN_STATUS=''
  : >"$OUT" 2>"$ERR"  # there from now on, not when the background job gets to it
  ${RUN_UNDER[@]+"${RUN_UNDER[@]}"} "$CKPT_BIN/ckptrun" "$@" >"$OUT" 2>"$ERR" <"${RUN_STDIN:-/dev/null}" &
  RUN_PID=$!
}

# recover [NAME[@VERSION] [ARGS...]]: `ckptrun --recover NAME ARGS...` in the background, as start_run.
recover() {
  start_run --recover "$@"
}

# wait_run: until ckptrun ends; its exit status in $RUN_STATUS.
wait_run() {
  RUN_STATUS=0
  wait_until "the end of ckptrun (pid $RUN_PID)" run_has_ended
  wait "$RUN_PID" || RUN_STATUS=$?
  RUN_PID=''
}

# Ended, reaped or not: bash reaps only when asked.
run_has_ended() { process_is_gone "$RUN_PID"; }

# expect_exit STATUS: the run ends by itself with STATUS.
expect_exit() {
  wait_run
  expect_eq "exit status of ckptrun" "$1" "$RUN_STATUS"
}

children_of() { cat "/proc/$1/task"/*/children 2>/dev/null || true; }

# The first descendant of the run that is no longer ckptrun itself: the program, whatever stands between.
find_program() {
  local queue pid exe
  local supervisor
  run_has_ended && fail "ckptrun ended without a program"
  supervisor=$(readlink "/proc/$RUN_PID/exe" 2>/dev/null) || return 1
  read -ra queue <<<"$(children_of "$RUN_PID" | tr '\n' ' ')"
  while (( ${#queue[@]} > 0 )); do
    pid=${queue[0]}
    exe=$(readlink "/proc/$pid/exe" 2>/dev/null) || exe=$supervisor
    if [[ $exe != "$supervisor" ]]; then
      PROGRAM_PID=$pid
      return 0
    fi
    read -ra queue <<<"${queue[*]:1} $(children_of "$pid" | tr '\n' ' ')"
  done
  run_is_alive || fail "ckptrun ended without a program"
  return 1
}

# find_program_pid: sets $PROGRAM_PID, the program's pid as seen from here.
find_program_pid() {
  PROGRAM_PID=''
  wait_until "the program of ckptrun (pid $RUN_PID)" find_program
}

process_is_gone() {
  local key value state=''
  { while [[ -z $state ]] && read -r key value _; do [[ $key != State: ]] || state=$value; done <"/proc/$1/status"; } 2>/dev/null ||
    true
  [[ $state == Z || -z $state ]]
}

# checkpoint NAME [ARGS...]: returns when the checkpoint is durable.
checkpoint() {
  "$CKPT_BIN/ckpt" checkpoint "$@" >>"$WORK/out.checkpoint" 2>>"$WORK/err.checkpoint" </dev/null \
    || fail "ckpt checkpoint $* failed: $(tail -n 1 "$WORK/err.checkpoint")"
}

# ckpt ARGS...: the command line tool.
ckpt() { "$CKPT_BIN/ckpt" "$@" </dev/null; }

# json EXPRESSION: prints what Python makes of it; `data` is what comes from standard input.
json() { "$PYTHON" -c "import json, sys; data = json.load(sys.stdin); print($1)"; }

# kill9_program: kill -9 of the program; ckptrun ends with it. Status in $RUN_STATUS (137).
kill9_program() {
  find_program_pid
  kill -KILL "$PROGRAM_PID"
  wait_run
}

# kill9_supervisor: kill -9 of ckptrun alone. $PROGRAM_PID lives on, or died with it in one of the short windows
# that the README names.
kill9_supervisor() {
  find_program_pid
  kill -KILL "$RUN_PID"
  wait_run
}

# kill9_both: the supervisor first, so that it cannot see its program end.
kill9_both() {
  find_program_pid
  kill -KILL "$RUN_PID" "$PROGRAM_PID" 2>/dev/null || true
  wait_run
  wait_until "the end of the program (pid $PROGRAM_PID)" process_is_gone "$PROGRAM_PID"
}

family_of() {
  local pid
  for pid in $(children_of "$1"); do
    echo "$pid"
    family_of "$pid"
  done
}

# kill9_family: kill -9 of ckptrun, the program and all that descends from it, at one instant, as a power failure is one:
# nobody sees another one end.
kill9_family() {
  local -a family
  kill -STOP "$RUN_PID"
  read -ra family <<<"$(family_of "$RUN_PID" | tr '\n' ' ')"
  kill -STOP "${family[@]}" 2>/dev/null || true
  read -ra family <<<"$(family_of "$RUN_PID" | tr '\n' ' ')"
  kill -KILL "$RUN_PID" "${family[@]}" 2>/dev/null || true
  wait_run
  local pid
  for pid in "${family[@]}"; do wait_until "the end of process $pid" process_is_gone "$pid"; done
}

# end_program: ends the current run, however, and forgets it.
end_program() {
  [[ -n $RUN_PID ]] || return 0
  kill9_program
}
