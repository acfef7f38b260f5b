#!/usr/bin/env bash
# What cannot be done is refused with status 125 and one line that says why and what to do, before anything is harmed.
#
# timeout: 120
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ckptrun=$CKPT_BIN/ckptrun
ckpt=$CKPT_BIN/ckpt

# --- nothing to recover

mkdir -m 700 empty
expect_refusal 125 'no checkpoint.*--every' "$ckptrun" --store empty --recover
expect_refusal 125 "nothing_here" "$ckptrun" --store empty --recover nothing_here
expect_refusal 125 "missing" "$ckptrun" --store missing --recover

# --- an application that runs, once without and once with a checkpoint

start_run --name sample -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
expect_refusal 125 'sample.*still running.*pid [0-9]+;' "$ckptrun" --recover sample
expect_refusal 125 'sample.*still running.*;' "$ckptrun" --name sample -- /bin/true
checkpoint sample
expect_refusal 125 'sample.*still running.*;' "$ckptrun" --recover sample
expect_refusal 125 'sample.*still running.*;' "$ckptrun" --recover sample@1

# --- a program that is already traced: named, left alone

find_program_pid
"$(program traces_process)" "$PROGRAM_PID" "$WORK/release" >tracer.out &
tracer=$!
wait_until "the tracer" grep -qs ready tracer.out
expect_refusal 125 "trace.*$tracer.*traces_process|trace.*traces_process.*$tracer" "$ckpt" checkpoint sample
touch release
wait "$tracer"
checkpoint sample
kill9_program

# --- a program that its own user may not trace

if (( EUID != 0 )); then
  start_run --name hidden -- "$PYTHON" -c 'import ctypes, time
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("ready", flush=True)
time.sleep(1000)'
  wait_for_line "$OUT" '^ready$'
  expect_refusal 125 'python3.*does not let its own user trace it.*;' "$ckpt" checkpoint hidden
  # shellcheck disable=SC2046  # one word per pid
  kill -KILL $(children_of "$RUN_PID")
  wait_run
fi

# --- versions

expect_refusal 125 'sample.*no version 99.*;' "$ckptrun" --recover sample@99
expect_refusal 125 'version.*;' "$ckptrun" --recover sample@0
expect_refusal 125 "not a name" "$ckptrun" --recover ../sample

# --- stores that others could have written

chmod 777 store
expect_refusal 125 'writable by others.*chmod' "$ckptrun" --recover sample
chmod 700 store
chmod 777 store/sample
expect_refusal 125 'writable by others.*chmod' "$ckptrun" --recover sample
chmod 700 store/sample
segment=$(find store/sample -name 'v*2.ckpt')
[[ -n $segment ]] || fail "no segment of version 2 in store/sample"
chmod 666 "$segment"
expect_refusal 125 'writable by others.*' "$ckptrun" --recover sample@2
chmod 600 "$segment"
if (( EUID == 0 )); then
  chown 65534 "$segment"
  expect_refusal 125 'belongs to user 65534.*;' "$ckptrun" --recover sample@2
  chown 0 "$segment"
fi

# --- damage

flip_byte() {
  "$PYTHON" - "$1" "$2" <<'PYTHON'
import os, sys
with open(sys.argv[1], "r+b") as file:
    position = int(os.path.getsize(sys.argv[1]) * float(sys.argv[2]))
    file.seek(position)
    byte = file.read(1)
    file.seek(position)
    file.write(bytes([byte[0] ^ 0x40]))
PYTHON
}

cp "$segment" intact
for where in 0.0 0.1 0.5 0.999; do
  flip_byte "$segment" "$where"
  expect_refusal 125 'damaged.*;' "$ckptrun" --recover sample@2
  cp intact "$segment"
done
truncate -s -1000 "$segment"
expect_refusal 125 'damaged.*;' "$ckptrun" --recover sample@2
expect_refusal 125 'damaged.*; the newest sound version is sample@1' "$ckptrun" --recover sample
expect_refusal 125 '^ckpt: a version is damaged; ' "$ckpt" verify sample
: >"$segment"
expect_refusal 125 'damaged.*;' "$ckptrun" --recover sample@2
cp intact "$segment"
expect_match "what verify says" '^sample: .* verified, sound: 1 2$' "$("$ckpt" verify sample)"

# After all that it still recovers.
recover sample@2
wait_for_line "$OUT" '^count '
touch go
expect_exit 0
expect_eq "last word" ok "$(tail -n 1 "$OUT")"

# --- where nothing can be written

expect_refusal 125 'proc/no-store' "$ckptrun" --store /proc/no-store -- /bin/true
if (( EUID != 0 )); then
  mkdir -m 500 read_only
  expect_refusal 125 'read_only' "$ckptrun" --store read_only/store -- /bin/true
  mkdir -m 700 read_only_store
  chmod 500 read_only_store
  expect_refusal 125 'read_only_store' "$ckptrun" --store read_only_store -- /bin/true
fi

# --- programs that gain privileges when they start

cp "$(program counts)" set_uid
chmod u+s set_uid
expect_refusal 125 'set_uid.*privileges.*;' "$ckptrun" -- ./set_uid "$WORK/go"

# --- options

expect_refusal 125 '--every|duration|unit' "$ckptrun" --every 5 -- /bin/true
expect_refusal 125 '--keep' "$ckptrun" --keep 0 -- /bin/true
expect_refusal 125 'SIGKILL|KILL' "$ckptrun" --on-signal KILL -- /bin/true
expect_refusal 125 'nonsense' "$ckptrun" --nonsense -- /bin/true
expect_refusal 125 'PROGRAM' "$ckptrun"
