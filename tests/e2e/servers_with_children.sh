#!/usr/bin/env bash
# Servers that serve by processes of their own are checkpointed as one, killed at one instant, and serve again: nginx with
# its workers, Redis while a child writes its data to disk, PostgreSQL with its shared memory (which refuses to run as root).
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

host=127.$((32 + BASHPID / 65536)).$((BASHPID / 256 % 256)).$((BASHPID % 256))  # nobody else's

# restart NAME: checkpointed, killed with all that it has started, recovered.
restart() {
  checkpoint "$1"
  kill9_family
  recover "$1" -v
  wait_for_line "$ERR" "resumed $1@"
}

# answers ADDRESS PATH TEXT: what a web server at ADDRESS sends for PATH is TEXT.
answers() {
  [[ $("$PYTHON" -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())' \
    "http://$1/$2" 2>/dev/null) == "$3" ]]
}

workers_of() { find_program_pid; children_of "$PROGRAM_PID" | wc -w; }

nginx_has_workers() {
  local nginx
  nginx=$(command -v nginx || echo /usr/sbin/nginx)
  [[ -x $nginx ]] || { echo "nginx: not installed"; return; }
  mkdir web
  chmod 755 "$WORK" web
  printf content >web/file
  printf other >web/other
  cat >nginx.conf <<CONF
daemon off;
master_process on;
worker_processes 3;
$( (( EUID != 0 )) || echo "user root;")
pid $WORK/nginx.pid;
error_log $WORK/nginx.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path $WORK/t1; proxy_temp_path $WORK/t2; fastcgi_temp_path $WORK/t3;
  uwsgi_temp_path $WORK/t4; scgi_temp_path $WORK/t5;
  server { listen $host:8080; root $WORK/web; }
}
CONF
  start_run --name nginx -- "$nginx" -p "$WORK" -c "$WORK/nginx.conf"
  wait_until "nginx to answer" answers "$host:8080" file content
  local generation
  for (( generation = 1; generation <= 3; generation++ )); do
    restart nginx
    expect_eq "workers of nginx" 3 "$(workers_of)"
    wait_until "the recovered nginx to answer" answers "$host:8080" other other
  done
  find_program_pid
  kill -QUIT "$PROGRAM_PID"  # the master ends its workers and itself
  expect_exit 0
  echo "nginx: serves again"
}

ask_redis() {
  "$PYTHON" -c 'import socket, sys
connection = socket.create_connection((sys.argv[1], 6390), timeout=20)
connection.sendall(" ".join(sys.argv[2:]).encode() + b"\r\n")
print(connection.makefile().readline().strip())' "$host" "$@"
}

redis_answers() { [[ $(ask_redis PING 2>/dev/null) == +PONG ]]; }
redis_has_saved() { [[ $(ask_redis LASTSAVE) != "$1" ]]; }
saves() { (( $(workers_of) > 0 )); }

redis_saves_in_a_child() {
  local redis=/usr/bin/redis-server before
  [[ -x $redis ]] || fail "$redis is missing; run scripts/deps.sh"
  # A key takes a millisecond to write, so that the child is at work for a while.
  start_run --name redis -- "$redis" --bind "$host" --port 6390 --dir "$WORK" --save '' --rdb-key-save-delay 1000 \
    --enable-debug-command yes
  wait_until "redis to answer" redis_answers
  expect_eq "answer to DEBUG POPULATE" +OK "$(ask_redis DEBUG POPULATE 1500 key 300)"
  before=$(ask_redis LASTSAVE)
  sleep 1.1  # LASTSAVE is in seconds
  expect_match "answer to BGSAVE" started "$(ask_redis BGSAVE)"
  wait_until "the child that saves" saves
  restart redis
  wait_until "the recovered redis to answer" redis_answers
  expect_eq "keys of the recovered redis" :1500 "$(ask_redis DBSIZE)"
  wait_until "the recovered child to have saved" redis_has_saved "$before"
  [[ -s $WORK/dump.rdb ]] || fail "there is no dump.rdb"
  ask_redis SHUTDOWN NOSAVE >/dev/null || true
  expect_exit 0
  echo "redis: the child of the recovered server has saved"
}

ask_postgres() { psql -h "$WORK" -p 5433 -d postgres -Atc "$1"; }
postgres_answers() { [[ $(ask_postgres 'select 1' 2>/dev/null) == 1 ]]; }

postgres_has_processes() {
  local postgres
  postgres=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | tail -n 1)
  command -v psql >/dev/null || postgres=''
  [[ -n $postgres ]] || { echo "postgres: not installed"; return; }
  (( EUID != 0 )) || { echo "postgres: refuses to run as root"; return; }
  "${postgres%/*}/initdb" -D data -A trust >initdb.log 2>&1 || fail "initdb: $(tail -n 1 initdb.log)"
  start_run --name postgres -- "$postgres" -D "$WORK/data" -c listen_addresses= -k "$WORK" -p 5433
  wait_until "postgres to answer" postgres_answers
  ask_postgres 'create table numbers (i int); insert into numbers select generate_series(1, 1000)' >/dev/null
  for (( i = 1; i <= 3; i++ )); do
    restart postgres
    wait_until "the recovered postgres to answer" postgres_answers
    ask_postgres 'insert into numbers select generate_series(1, 100)' >/dev/null
    expect_eq "rows after recover $i" "$((1000 + 100 * i))" "$(ask_postgres 'select count(*) from numbers')"
  done
  kill -TERM "$RUN_PID"
  expect_exit 0
  echo "postgres: serves again"
}

nginx_has_workers
postgres_has_processes
redis_saves_in_a_child
