#!/usr/bin/env bash
# Real servers and clients are killed and recovered: servers listen where they did and serve again, connections to the
# outside are lost the way a peer loses them, and whoever connects anew is served.
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

redis=/usr/bin/redis-server
[[ -x $redis ]] || fail "$redis is missing; run scripts/deps.sh"

port_in() { sed -n 's/.*port \([0-9]\+\).*/\1/p' "$1" | head -n 1; }

# restart NAME: checkpointed, killed, recovered.
restart() {
  checkpoint "$1"
  kill9_both
  recover "$1" -v
  wait_for_line "$ERR" "resumed $1@"
}

http_server_serves_files() {
  local port
  mkdir web
  echo "content" >web/file
  start_run --name web -- "$PYTHON" -u -m http.server --bind 127.0.0.1 --directory "$WORK/web" 0
  wait_for_line "$OUT" 'port [0-9]'
  port=$(port_in "$OUT")
  expect_eq "what the server sent" content "$(fetch "$port")"
  restart web
  expect_eq "what the recovered server sent" content "$(fetch "$port")"
  end_program
}

fetch() {
  "$PYTHON" -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode(), end="")' \
    "http://127.0.0.1:$1/file"
}

asyncio_server_has_fifty_clients() {
  local clients
  start_run --name echoes -- "$PYTHON" "$CKPT_PROGRAMS/echoes_in_asyncio.py"
  wait_for_line "$OUT" '^port '
  "$PYTHON" "$CKPT_PROGRAMS/keeps_asking.py" "$(port_in "$OUT")" 50 >clients 2>clients.err &
  clients=$!
  wait_for_line clients '^answered 0$'
  restart echoes
  wait_for_line clients '^lost 1$'
  wait_for_line clients '^answered 1$'
  wait "$clients" || fail "the clients failed: $(cat clients.err)"
  end_program
}

# The server knows nothing of it; the client gets an IOException and connects anew.
java_client_connects_anew() {
  local server
  "$JAVA" -Xint -cp "$CKPT_PROGRAMS" TalksInJava server >java.server &
  server=$!
  wait_for_line java.server '^port '
  start_run --name asks -- "$JAVA" -cp "$CKPT_PROGRAMS" TalksInJava client "$(port_in java.server)"
  wait_for_line "$OUT" '^answered$'
  restart asks
  wait_for_line "$OUT" '^answered$'
  expect_eq "first word of the recovered client" IOException "$(head -n 1 "$OUT")"
  end_program
  kill "$server"
  wait "$server" || true
}

java_server_serves_again() {
  local clients
  start_run --name selects -- "$JAVA" -cp "$CKPT_PROGRAMS" TalksInJava server
  wait_for_line "$OUT" '^port '
  "$JAVA" -Xint -cp "$CKPT_PROGRAMS" TalksInJava client "$(port_in "$OUT")" >java.client &
  clients=$!
  wait_for_line java.client '^answered$'
  restart selects
  wait_for_line "$OUT" '^IOException$'
  wait_for_lines java.client 3
  expect_eq "words of the client" "answered IOException answered" "$(head -n 3 java.client | xargs)"
  kill "$clients"
  wait "$clients" || true
  end_program
}

# ask_redis COMMAND...: its answer, of one line.
ask_redis() {
  "$PYTHON" - "$WORK/redis.socket" "$*" <<'END'
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(sys.argv[2].encode() + b"\r\n")
print(connection.makefile().readline().strip())
END
}

redis_keeps_its_data() {
  local holder
  start_run --name redis -- "$redis" --port 0 --unixsocket "$WORK/redis.socket" --save '' --daemonize no
  wait_for_line "$OUT" 'ready to accept connections'
  expect_eq "SET" +OK "$(ask_redis SET key 41)"
  "$PYTHON" -c '
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(b"PING\r\n")
print(connection.recv(100), flush=True)
print(connection.recv(100), flush=True)' "$WORK/redis.socket" >holder &
  holder=$!
  wait_for_line holder PONG
  restart redis
  wait "$holder"
  expect_eq "INCR after recover" :42 "$(ask_redis INCR key)"
  end_program
}

http_server_serves_files
asyncio_server_has_fifty_clients
java_client_connects_anew
java_server_serves_again
redis_keeps_its_data
echo "servers and clients went on"
