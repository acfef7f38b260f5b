#!/usr/bin/env bash
# Servers that serve by processes of their own are checkpointed as one, killed at one instant, and serve again: nginx with
# its workers, Redis while a child writes its data to disk, PostgreSQL with its shared memory. As root their processes are
# those of another user, since nginx starts its workers so, and PostgreSQL refuses to run as root.
#
#   servers_with_children.sh [ROW...]     nginx, postgres, transactions, redis; default: all of them
#
# timeout: 180
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure

as_other_user=()
if (( EUID == 0 )); then
  as_other_user=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
  chmod 711 "$WORK"
fi

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

nginx() {
  local generation nginx=/usr/sbin/nginx
  [[ -x $nginx ]] || fail "$nginx is missing; run scripts/deps.sh"
  cat >nginx.conf <<CONF
daemon off;
master_process on;
worker_processes 3;
$( (( EUID != 0 )) || echo "user nobody nogroup;")
pid $WORK/nginx.pid;
error_log $WORK/nginx.log;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path $WORK/t1; proxy_temp_path $WORK/t2; fastcgi_temp_path $WORK/t3;
  uwsgi_temp_path $WORK/t4; scgi_temp_path $WORK/t5;
  server { listen $host:8080; location / { return 200 "of \$uri"; } }
}
CONF
  start_run --name nginx -- "$nginx" -p "$WORK" -c "$WORK/nginx.conf"
  wait_until "nginx to answer" answers "$host:8080" one 'of /one'
  for (( generation = 1; generation <= 3; generation++ )); do
    restart nginx
    expect_eq "workers of nginx" 3 "$(workers_of)"
    wait_until "the recovered nginx to answer" answers "$host:8080" other 'of /other'
  done
  find_program_pid
  kill -QUIT "$PROGRAM_PID"  # the master ends its workers and itself
  expect_exit 0
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

redis() {
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
}

ask_postgres() { psql -h "$SERVER" -p 5433 -U postgres -d postgres -Atc "$1"; }
postgres_answers() { [[ $(ask_postgres 'select 1' 2>/dev/null) == 1 ]]; }

# make_database NAME: POSTGRES is a command that starts a server with an empty database, as a user who may; SERVER is
# the directory where it has its data and its socket.
make_database() {
  local postgres
  postgres=$(find /usr/lib/postgresql -path '*/bin/postgres' 2>/dev/null | tail -n 1)
  [[ -n $postgres ]] || fail "postgres is missing; run scripts/deps.sh"
  export SERVER=$WORK/$1
  mkdir "$SERVER"
  (( EUID != 0 )) || chown 65534:65534 "$SERVER"
  "${as_other_user[@]}" "${postgres%/*}/initdb" -D "$SERVER/data" -A trust -U postgres --no-sync >initdb.log 2>&1 \
    || fail "initdb: $(tail -n 1 initdb.log)"
  POSTGRES=("${as_other_user[@]}" "$postgres" -D "$SERVER/data" -c listen_addresses= -k "$SERVER" -p 5433)
}

postgres() {
  local generation
  make_database postgres
  start_run --name postgres -- "${POSTGRES[@]}"
  wait_until "postgres to answer" postgres_answers
  ask_postgres 'create table numbers (i int); insert into numbers select generate_series(1, 1000)' >/dev/null
  for (( generation = 1; generation <= 3; generation++ )); do
    restart postgres
    wait_until "the recovered postgres to answer" postgres_answers
    ask_postgres 'insert into numbers select generate_series(1, 100)' >/dev/null
    expect_eq "rows after recover $generation" "$((1000 + 100 * generation))" \
      "$(ask_postgres 'select count(*) from numbers')"
  done
  kill -TERM "$RUN_PID"
  expect_exit 0
}

waits_for_lock() { [[ $(ask_postgres "select count(*) from pg_stat_activity where wait_event_type = 'Lock'") == 1 ]]; }

# Two clients that are started with the server are in the middle of their transactions; one waits for the other.
transactions() {
  local generation
  make_database transactions
  cat >transact <<'SCRIPT'
#!/usr/bin/env bash
"$@" & server=$!
client() { psql -h "$SERVER" -p 5433 -U postgres -d postgres -AtqX -v ON_ERROR_STOP=1; }
until client <<<'select' >/dev/null 2>&1; do sleep 0.1; done
client <<<'create table account (name text primary key, amount int); insert into account values ($$a$$, 100), ($$b$$, 0);
           create table note (n int)'
client <<'SQL' & first=$!
begin;
update account set amount = amount - 30 where name = 'a';
insert into note select generate_series(1, 500);
\! touch first; until [ -e go ]; do sleep 0.02; done
update account set amount = amount + 30 where name = 'b';
commit;
SQL
until [[ -e first ]]; do sleep 0.02; done
client <<'SQL' & second=$!
begin;
insert into note values (0);
\! touch second
update account set amount = amount - 50 where name = 'a';
update account set amount = amount + 50 where name = 'b';
commit;
SQL
wait $first; echo "first $?"
wait $second; echo "second $?"
client <<<'select name, amount from account order by name; select count(*) from note'
kill -INT $server; wait $server; echo "server $?"
SCRIPT
  chmod +x transact
  start_run --name transactions -- ./transact "${POSTGRES[@]}"
  wait_until "both transactions" test -e second
  wait_until "the second to wait for the first" waits_for_lock
  for (( generation = 1; generation <= 3; generation++ )); do restart transactions; done
  touch go
  expect_exit 0
  expect_eq "what the clients say" 'first 0;second 0;a|20;b|80;501;server 0;' "$(tr '\n' ';' <"$OUT")"
}

if (( $# == 0 )); then set -- nginx postgres transactions redis; fi
for row; do
  "$row"
  echo "$row: serves again"
done
