#!/usr/bin/env bash
# --sockets keep: TCP connections with the outside go on after 'ckpt suspend' and a recover, with every byte that was
# under way in either direction; only once, and only where that is permitted.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

host=127.$((16 + BASHPID / 65536)).$((BASHPID / 256 % 256)).$((BASHPID % 256))  # nobody else's
converse=("$PYTHON" "$CKPT_PROGRAMS/converses_by_tcp.py")

if (( EUID != 0 )); then
  expect_refusal 125 '^ckptrun: --sockets keep needs CAP_NET_ADMIN; .*--sockets reset' \
    "$CKPT_BIN/ckptrun" --sockets keep --name refused -- true
  [[ ! -e $CKPT_STORE/refused ]] || fail "a refused run left something behind"
  exit 0
fi

"${converse[@]}" peer "$host" "$WORK" >out.peer 2>err.peer &
peer=$!
start_run --name away --sockets keep -- "${converse[@]}" program "$host" "$WORK"
wait_for_line "$OUT" '^ready$'
connections=$(( $(wc -l <addresses) + 3 ))
checkpoint away  # disturbs nothing, and keeps nothing

# One that fails lets the program go on as if nothing had been.
prlimit --pid "$RUN_PID" --fsize=4096:
expect_refusal 125 'File too large' "$CKPT_BIN/ckpt" suspend away
prlimit --pid "$RUN_PID" --fsize=unlimited:

ckpt suspend away >>out.checkpoint
expect_exit 75
kill -0 "$peer" || fail "the peer has noticed something"

recover away@2 -v
wait_for_line "$ERR" "resumed away@2 "  # nobody would be there to hear the peer
touch back go
expect_exit 0
expect_eq "words of the program" ok "$(tail -n 1 "$OUT")"
wait "$peer" || fail "the peer did not get every byte"
expect_eq "words of the peer" ok "$(cat out.peer)"
expect_eq "connections in ckpt show" "$connections" "$(ckpt show away | grep -c 'connect .*: re-established, it went on')"

recover away@2  # the peer has heard what came after it
expect_exit 0
expect_match "message" 'cannot go on: the program has run on since this version was made' "$(cat "$ERR")"
expect_eq "lost connections" "$connections" "$(grep -c '^lost$' "$OUT")"
