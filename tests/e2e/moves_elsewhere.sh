#!/usr/bin/env bash
# A program whose files moved goes on with --path; one whose files are gone, if they are part of the checkpoint; and one
# that was limited to what other processors have can prove it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cat >reads.py <<'PYTHON'
"""Has a file open, one mapped, a socket and its working directory in one place; says where they are."""
import mmap, os, socket, sys, time

os.chdir(sys.argv[1])
data = open("data", "rb", buffering=0)
data.read(5)
mapped = mmap.mmap(os.open("mapped", os.O_RDONLY), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.path.join(sys.argv[1], "socket"))
listener.listen()
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.005)
places = [os.getcwd(), listener.getsockname(), os.readlink(f"/proc/self/fd/{data.fileno()}")]
print(*(os.path.relpath(place, sys.argv[3]) for place in places), data.read().decode(), mapped[:4].decode(), flush=True)
PYTHON

make_home() {
  mkdir "$1"
  printf 'firstsecond' >"$1/data"
  printf 'page' >"$1/mapped"
}

found() { tail -n 1 "$OUT"; }

# Files that moved.
make_home home
start_run --name app -- "$PYTHON" "$WORK/reads.py" "$WORK/home" "$WORK/go" "$WORK"
wait_for_line "$OUT" '^ready$'
checkpoint app
kill9_program
rm home/socket
mv home moved
expect_refusal 125 'home/mapped cannot be found.*;' "$CKPT_BIN/ckptrun" --recover app
recover app --path "$WORK/home=$WORK/moved" --path /none=/other
wait_for_line "$ERR" 'no path of the checkpoint begins with /none$'
checkpoint app
kill9_program
expect_eq "messages about changes" "" "$(grep changed "$ERR" || true)"
printf 'more' >>moved/data
touch go
recover app
expect_exit 0
expect_eq "what the program found" "moved moved/socket moved/data secondmore page" "$(found)"
expect_match "messages of ckptrun" "changed since the checkpoint, .*: $WORK/moved/data \(11 bytes then, 15 now\)" "$(cat "$ERR")"
rm go

# Files that are gone, put back and put elsewhere.
make_home carried
start_run --name embedded --files embed -- "$PYTHON" "$WORK/reads.py" "$WORK/carried" "$WORK/go" "$WORK"
wait_for_line "$OUT" '^ready$'
checkpoint embedded
kill9_program
rm -r carried
touch go
recover embedded
expect_exit 0
expect_match "messages of ckptrun" 'made from the checkpoint, .*carried/.* and 1 more' "$(cat "$ERR")"
expect_eq "what the program found" "carried carried/socket carried/data second page" "$(found)"
rm -r carried
recover embedded@1 --path "$WORK/carried=$WORK/a/new/place"
expect_exit 0
expect_eq "what the program found" "a/new/place a/new/place/socket a/new/place/data second page" "$(found)"
rm go

# What libc chooses from: none of AVX2 (bit 5 of EBX), AVX512F, AVX512VL (16, 31) of leaf 7, none of AVX (28 of ECX).
start_run --name baseline --cpu-baseline x86-64-v2 -- /lib64/ld-linux-x86-64.so.2 --list-diagnostics
expect_exit 0
active() { sed -n "s/^x86.cpu_features.features\[$1\].active\[$2\]=//p" "$OUT"; }
expect_eq "AVX2 and AVX-512 that libc uses" 0 $(( $(active 0x1 0x1) & (1 << 5 | 1 << 16 | 1 << 31) ))
expect_eq "AVX that libc uses" 0 $(( $(active 0x0 0x2) & 1 << 28 ))
expect_eq "SSE4.2 that libc uses" $((1 << 20)) $(( $(active 0x0 0x2) & 1 << 20 ))
start_run --name limited --cpu-baseline x86-64-v3 -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count '
for version in 1 2; do
  checkpoint limited
  kill9_program
  expect_match "what version $version says" '"cpu_baseline": "x86-64-v3"' "$(ckpt show "limited@$version" --json)"
  recover limited --force-cpu
  wait_for_lines "$OUT" 3
done
kill9_program
