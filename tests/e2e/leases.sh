#!/usr/bin/env bash
# Leases: granted, given back at a suspend, got again at a recover, moved, lost; by commands, with etcd as what grants
# them, and by functions of the program. Every change is in `ckpt show`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ETCD=/usr/bin/etcd
endpoint=(--endpoints unix://etcd.sock:0 --command-timeout=60s --dial-timeout=60s)
export ETCDCTL_API=3 ETCD_ENDPOINT="${endpoint[*]}"

lease_states() {
  ckpt show "$1" --json | "$PYTHON" -c "
import json, sys
print(*(lease['name'] + ' ' + lease['state'] for lease in json.load(sys.stdin)['leases']), sep='; ')"
}

# lease_is APPLICATION CHANGE: it is the last one.
lease_is() { [[ "; $(lease_states "$1")" == *"; $2" ]]; }

# etcd listens on a Unix socket, so that no port is taken from anybody.
start_etcd() {
  [[ -x $ETCD ]] || fail "$ETCD is missing; run scripts/deps.sh"
  "$ETCD" --data-dir "$WORK/etcd" --listen-client-urls unix://etcd.sock:0 --advertise-client-urls unix://etcd.sock:0 \
    --listen-peer-urls unix://peer.sock:0 --initial-advertise-peer-urls unix://peer.sock:0 \
    --initial-cluster default=unix://peer.sock:0 --log-level error >"$WORK/etcd.log" 2>&1 &
  etcd_pid=$!
  wait_until "etcd" etcd_answers
}

etcd_answers() { [[ -S etcd.sock:0 ]] && etcdctl get nothing; }

# A call takes as long as the machine needs; what limits the test is the deadline of its waits.
etcdctl() { /usr/bin/etcdctl "${endpoint[@]}" "$@" 2>>etcdctl.log; }

granted_leases() {
  etcdctl lease list >granted || fail "etcd does not tell its leases: $(tail -n 1 etcdctl.log)"
  grep -cE '^[0-9a-f]+$' granted || true
}

# The command of the lease leaves a process behind that is a child of ckptrun, too.
find_app() { PROGRAM_PID=$(ckpt show app --json | "$PYTHON" -c "import json, sys; print(json.load(sys.stdin)['pid'])"); }

end_app() {
  find_app
  kill -KILL "$PROGRAM_PID"
  wait_run
}

# Both at once, so that nobody gives the lease back.
kill_app() {
  find_app
  kill -KILL "$RUN_PID" "$PROGRAM_PID"
  wait_run
  wait_until "the end of the program (pid $PROGRAM_PID)" process_is_gone "$PROGRAM_PID"
}

# The command keeps the lease alive with a process of its own while the program runs.
cat >lease.sh <<'END'
[ -S etcd.sock:0 ] || [ "$CKPT_LEASE_EVENT" = lost ] || { echo "etcd is gone" >&2; exit 1; }
case $CKPT_LEASE_EVENT in
  issue | renew)
    id=$(/usr/bin/etcdctl $ETCD_ENDPOINT lease grant 600 | awk '{print $2}')
    [ -n "$id" ] || exit 1
    /usr/bin/etcdctl $ETCD_ENDPOINT put service "$CKPT_LEASE_APPLICATION" --lease="$id" >&2 || exit 1
    /usr/bin/etcdctl $ETCD_ENDPOINT lease keep-alive "$id" >/dev/null 2>&1 &
    echo "$id" ;;
  expire)
    /usr/bin/etcdctl $ETCD_ENDPOINT lease revoke "$CKPT_LEASE_DATA" >&2 ;;
  lost) echo "$CKPT_LEASE_NAME" >>lost ;;
esac
END

start_etcd
start_run --name app --lease "exec:registry=sh $WORK/lease.sh" --lease-policy fail -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
expect_eq "leases at etcd" 1 "$(granted_leases)"
expect_eq "what is registered" app "$(etcdctl get service --print-value-only)"
ckpt suspend app >/dev/null
expect_exit 75
expect_eq "leases at etcd while it is suspended" 0 "$(granted_leases)"
recover app
wait_for_line "$OUT" '^count '
expect_eq "leases at etcd after a recover" 1 "$(granted_leases)"
kill_app
recover app
wait_for_line "$OUT" '^count '
end_app
expect_eq "changes" 'registry active; registry expired; registry re-established; registry re-established; registry expired' \
  "$(lease_states app)"

# Nobody grants it any more.
kill -KILL "$etcd_pid"
wait "$etcd_pid" || true
rm etcd.sock:0
status=0
"$CKPT_BIN/ckptrun" --recover app >out.more 2>err.more </dev/null || status=$?
expect_eq "exit status" 125 "$status"
expect_match "message" 'lease registry is lost: its command exited with 1: etcd is gone; make it available, or use --lease-policy notify' \
  "$(tail -n 1 err.more)"
expect_eq "the command was told" registry "$(cat lost)"
recover app --lease-policy notify
wait_for_line "$OUT" '^count '
expect_match "message" 'lease registry is lost' "$(cat "$ERR")"
expect_match "ckpt show" 'exec registry: lost, its command exited with 1' "$(ckpt show app)"
end_app

# A lease of the program's own, by functions: kept where it was, moved, lost.
new_orders
start_run --name part -- "$(program takes_part)" "$ORDERS"
order leases '^leases -2$'
order lease '^lease 0$'
order leases '^lease token 1 here$'
touch "$ORDERS/here"
ckpt suspend part >/dev/null
expect_exit 75
expect_eq "what the program was told" 'expire token here x' "$(grep '^expire' "$OUT")"
rm "$ORDERS"/do.*
ORDERS_GIVEN=3
recover part
wait_until "the lease of the program" lease_is part 'token re-established'
order leases '^lease token 3 here$'
kill9_both
rm "$ORDERS"/do.* "$ORDERS/here"
touch "$ORDERS/there"
ORDERS_GIVEN=3
recover part
wait_until "the lease of the program" lease_is part 'token moved'
order leases '^lease token 4 there$'
expect_eq "what the program was told" 'establish token here x refused;establish token there x granted;' \
  "$(grep '^establish' "$OUT" | tr '\n' ';')"
kill9_program
rm "$ORDERS"/do.* "$ORDERS/there"
recover part --lease-policy fail
expect_exit 125
expect_match "message" 'lease token of the program is lost; make it available' "$(tail -n 1 "$ERR")"
expect_eq "changes" 'token active; token expired; token re-established; token moved; token lost' "$(lease_states part)"
