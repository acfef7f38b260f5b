#!/usr/bin/env bash
# What a program needs of the world around it: connections that a lease gets back, from the same server or one that
# takes its place, and addresses and locks that somebody else has by now. Whatever comes of them is in `ckpt show`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

redis=/usr/bin/redis-server
[[ -x $redis ]] || fail "$redis is missing; run scripts/deps.sh"
host=127.$((16 + BASHPID / 65536)).$((BASHPID / 256 % 256)).$((BASHPID % 256))  # nobody else's

# The last change of every lease.
lease_states() {
  ckpt show "$1" --json | "$PYTHON" -c "
import json, sys
print(*sorted({lease['name']: lease['kind'] + ' ' + lease['name'].replace('$host', 'HOST').replace('$WORK', 'WORK') + ' ' + lease['state']
               for lease in json.load(sys.stdin)['leases']}.values()), sep='; ')"
}

leases_are() { [[ $(lease_states "$1") == "$2" ]]; }

# ask_server PORT COMMAND: the first line of its answer.
ask_server() {
  "$PYTHON" -c '
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
connection.sendall(sys.argv[3].encode() + b"\r\n")
print(connection.makefile().readline().strip())' "$host" "$@" 2>>ask.err
}

server_is_up() { [[ $(ask_server "$1" PING) == +PONG ]]; }

start_server() {
  # With a title of its own it would lose the mark that tells whose it is.
  "$redis" --set-proc-title no --bind "$host" --port "$1" --save '' --daemonize no --dir "$WORK" >"redis.$1" 2>&1 &
  SERVER=$!
  wait_until "a Redis server at $host:$1" server_is_up "$1"
}

end_server() {
  kill -KILL "$1"
  wait "$1" || true
}

# ask COMMAND ANSWER: by the program.
ask() {
  number=$((number + 1))
  echo "$1" >asks/new
  mv asks/new "asks/ask.$number"
  wait_for_line "$OUT" "^$2\$"
}

connections_are_made_again() {
  local number=0 first second places="connect:$host:21000,$host:21001,send=$WORK/preamble=reconnect"
  printf 'CLIENT REPLY SKIP\r\nSELECT 3\r\n' >preamble
  mkdir asks
  start_server 21000
  first=$SERVER
  start_run --name asks --lease "$places" -- "$PYTHON" "$CKPT_PROGRAMS/asks_redis.py" "$host" 21000 "$WORK/asks"
  wait_for_line "$OUT" '^connected$'
  ask 'SELECT 3' '\+OK'
  ask 'INCR key' ':1'
  checkpoint asks
  kill9_both
  recover asks
  ask 'INCR key' ':2'
  wait_until "the leases of asks" leases_are asks "connect HOST:21000 re-established"
  checkpoint asks
  kill9_both
  end_server "$first"
  start_server 21001
  second=$SERVER
  recover asks
  ask 'INCR key' ':1'
  ask 'SELECT 0' '\+OK'
  ask 'INCR key' ':1'
  wait_until "the leases of asks" leases_are asks "connect HOST:21000 moved"
  expect_match "ckpt show" "connect $host:21000: moved, $host:21001" "$(ckpt show asks)"
  checkpoint asks
  kill9_both
  recover asks
  ask 'INCR key' ':2'
  checkpoint asks
  kill9_both
  end_server "$second"
  expect_refusal 125 "the connection with $host:21001 is lost: $host:21000: .*refused.*--lease-policy notify" \
    "$CKPT_BIN/ckptrun" --recover asks --lease-policy fail
  recover asks --lease-policy notify
  ask 'INCR key' 'ConnectionResetError'
  wait_until "the leases of asks" leases_are asks "connect HOST:21000 moved; connect HOST:21001 lost"
  end_program
}

lock_is_held() { ! flock --shared --nonblock file true; }

addresses_and_locks_are_given_up() {
  start_run --name listens -- "$PYTHON" "$CKPT_PROGRAMS/listens_and_locks.py" "$host" 21002 "$WORK/file"
  wait_for_line "$OUT" '^ready$'
  checkpoint listens
  kill9_both
  recover listens
  wait_until "the recovered server" server_greets 21002
  wait_until "the leases of listens" leases_are listens "listen HOST:21002 re-established; lock WORK/file re-established"
  kill9_both
  mkfifo release
  flock file cat release &
  wait_until "the lock of another process" lock_is_held
  start_server 21002
  expect_refusal 125 "descriptor [0-9]+: a TCP socket cannot be bound to $host:21002 again: .*--lease-policy notify" \
    "$CKPT_BIN/ckptrun" --recover listens
  recover listens --lease-policy notify
  wait_for_line "$OUT" '^no address$'
  wait_until "the leases of listens" leases_are listens "listen HOST:21002 lost; lock WORK/file lost"
  expect_match "message" 'cannot be bound to .*; going on without it' "$(cat "$ERR")"
  echo >release
}

# The kernel keeps the port for as long as TCP_LINGER2 says; else it would be a minute.
address_is_waited_for() {
  start_run --name ends -- "$PYTHON" "$CKPT_PROGRAMS/listens_without_reuse.py" "$host" 21003
  wait_for_line "$OUT" '^ready$'
  checkpoint ends
  "$PYTHON" "$CKPT_PROGRAMS/stays_connected.py" "$host" 21003 >stays &
  wait_for_line stays '^hello$'
  kill9_both
  recover ends
  wait_for_line "$ERR" "^ckptrun: waiting up to a minute for $host:21003: connections that have just ended"
  wait_until "the recovered server" server_greets 21003
  wait_until "the leases of ends" leases_are ends "listen HOST:21003 re-established"
  end_program
}

server_greets() { [[ $(ask_server "$1" hello) == hello ]]; }

connections_are_made_again
addresses_and_locks_are_given_up
address_is_waited_for
