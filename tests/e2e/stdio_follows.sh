#!/usr/bin/env bash
# Standard input, output and error that pointed outside follow the new ckptrun, wherever they point now.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Through a pipe in, into a file out; then into another file; then into a pipe.
mkfifo in.1 in.2 in.3 out.pipe
RUN_STDIN=$WORK/in.1 start_run --name copy -- /bin/cat
exec 3>in.1
echo first >&3
wait_for_line "$OUT" '^first$'
checkpoint copy
kill9_program
exec 3>&-

RUN_STDIN=$WORK/in.2 recover copy
exec 3>in.2
echo second >&3
wait_for_line "$OUT" '^second$'
expect_eq "output of the second incarnation" second "$(cat "$OUT")"
checkpoint copy
kill9_both
exec 3>&-

"$CKPT_BIN/ckptrun" --recover copy <in.3 >out.pipe 2>err.pipe &
RUN_PID=$! OUT=$WORK/collected ERR=$WORK/err.pipe
tr "[:lower:]" "[:upper:]" <out.pipe >collected &
exec 3>in.3
echo third >&3
exec 3>&-
expect_exit 0
wait_until "the end of the pipeline" grep -q THIRD collected
expect_eq "output of the third incarnation" THIRD "$(cat collected)"

# Standard error by itself, and joined with standard output.
mkfifo in.4 in.5 in.6
# shellcheck disable=SC2016  # Lua
both='for line in io.lines() do print("out " .. line) io.stdout:flush() io.stderr:write("err " .. line .. "\n") end'
RUN_STDIN=$WORK/in.4 start_run --name both -- "$LUA" -e "$both"
exec 3>in.4
echo first >&3
wait_for_line "$OUT" '^out first$'
wait_for_line "$ERR" '^err first$'
checkpoint both
kill9_program
exec 3>&-
RUN_STDIN=$WORK/in.5 recover both
exec 3>in.5
echo second >&3
wait_for_line "$OUT" '^out second$'
wait_for_line "$ERR" '^err second$'
expect_eq "standard output" "out second" "$(cat "$OUT")"
checkpoint both
kill9_program
exec 3>&-
"$CKPT_BIN/ckptrun" --recover both <in.6 >joined 2>&1 &
RUN_PID=$! OUT=$WORK/joined ERR=$WORK/joined
exec 3>in.6
echo third >&3
wait_for_line joined '^out third$'
wait_for_line joined '^err third$'
exec 3>&-
expect_exit 0

# Appending to one file over all incarnations: nothing is lost, nothing overwritten.
rm -f go
: >log
"$CKPT_BIN/ckptrun" --name append -- "$(program counts)" "$WORK/go" >>log 2>err.append &
RUN_PID=$! OUT=$WORK/log ERR=$WORK/err.append
wait_for_line log '^count 5$'
checkpoint append
kill9_program
before=$(line_count log)
head -n "$before" log >log.before
"$CKPT_BIN/ckptrun" --recover append >>log 2>>err.append &
RUN_PID=$!
wait_for_growth log
touch go
expect_exit 0
expect_eq "what was in the log before" "$(cat log.before)" "$(head -n "$before" log)"
expect_eq "last line of the log" ok "$(tail -n 1 log)"

# A pipeline of its own.
expect_eq "pipeline" "A B" "$(echo 'a b' | "$CKPT_BIN/ckptrun" --name pipeline -- /bin/cat | tr "[:lower:]" "[:upper:]")"
