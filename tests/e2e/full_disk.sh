#!/usr/bin/env bash
# A store that is full fails that checkpoint, with the reason; the program runs on, the previous version stays the
# latest, nothing is left behind, and the next checkpoint after space is freed succeeds.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

files_of() { find "$1" -name '*.ckpt*' -o -name '*tmp*' | sort; }

# while_full NAME REGEX MAKE_ROOM...: the run NAME has version 1 and no room for version 2 until MAKE_ROOM.
while_full() {
  local name=$1 regex=$2 before
  shift 2
  before=$(files_of "$CKPT_STORE")
  expect_refusal 125 "$regex" "$CKPT_BIN/ckpt" checkpoint "$name"
  expect_refusal 125 "$regex" "$CKPT_BIN/ckpt" checkpoint "$name"
  expect_eq "segments after a failed checkpoint" "$before" "$(files_of "$CKPT_STORE")"
  wait_for_growth "$OUT"
  "$@"
  checkpoint "$name"
  expect_match "segments after making room" 'v0*2\.ckpt' "$(files_of "$CKPT_STORE")"
  wait_for_growth "$OUT"
  kill9_both
  recover "$name"
  wait_for_line "$OUT" '^count '
  touch go
  expect_exit 0
  expect_eq "last word of $name" ok "$(tail -n 1 "$OUT")"
  rm go
}

# A limit on the size of files, which any user can set, and raise again for the supervisor alone.
limit_kib=64  # less than the program changes between any two of its lines
(
  ulimit -S -f "$limit_kib"
  exec "$CKPT_BIN/ckptrun" --name limited -- "$(program holds_256_mib)" 16 "$WORK/go"
) >out.limited 2>err.limited </dev/null &
RUN_PID=$! OUT=$WORK/out.limited ERR=$WORK/err.limited
wait_for_line "$OUT" '^count '
prlimit --pid "$RUN_PID" --fsize=unlimited:
checkpoint limited
wait_for_growth "$OUT"
prlimit --pid "$RUN_PID" --fsize=$((limit_kib * 1024)):
while_full limited 'too large|full.*;' prlimit --pid "$RUN_PID" --fsize=unlimited:

# A small file system, where this user can mount one: in a mount namespace that ends with the run.
unshare_options=(--mount)
(( EUID == 0 )) || unshare_options=(--user --map-current-user --mount --keep-caps)
mkdir small
if ! unshare "${unshare_options[@]}" mount -t tmpfs -o size=1m none small 2>/dev/null; then
  echo "this user cannot mount a small file system; only the limit on file sizes was tested"
  exit 0
fi
cat >in_namespace.sh <<'SCRIPT'
mount -t tmpfs -o size=80m,mode=700 none "$WORK/small" || exit 1
echo $$ >shell.pid
exec "$CKPT_BIN/ckptrun" --name small -- "$CKPT_PROGRAMS/holds_256_mib" 16 "$WORK/go"
SCRIPT
export WORK
export CKPT_STORE=$WORK/small/store
unshare "${unshare_options[@]}" /bin/bash in_namespace.sh >out.small 2>err.small </dev/null &
RUN_PID=$! OUT=$WORK/out.small ERR=$WORK/err.small
wait_for_line "$OUT" '^count '

# The supervisor's own view of the store is the one that has the file system.
inside() { nsenter --target "$RUN_PID" --user --preserve-credentials --mount -- "$@"; }
if (( EUID == 0 )); then
  inside() { nsenter --target "$RUN_PID" --mount -- "$@"; }
fi
segments() { inside find "$CKPT_STORE/small" -name '*.ckpt*' | wc -l; }
inside "$CKPT_BIN/ckpt" checkpoint small >/dev/null
inside dd if=/dev/zero of="$WORK/small/ballast" bs=1M 2>/dev/null && fail "the small file system has no end"
status=0
inside "$CKPT_BIN/ckpt" checkpoint small >refusal.out 2>refusal.err || status=$?
expect_eq "exit status of a checkpoint on a full disk" 125 "$status"
expect_match "message" 'full.*No space left.*;' "$(cat refusal.err)"
expect_eq "segments" 1 "$(segments)"
wait_for_growth "$OUT"
inside rm "$WORK/small/ballast"
inside "$CKPT_BIN/ckpt" checkpoint small >/dev/null
expect_eq "segments" 2 "$(segments)"
touch go
expect_exit 0
expect_eq "last word" ok "$(tail -n 1 "$OUT")"
