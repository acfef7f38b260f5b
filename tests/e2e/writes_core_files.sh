#!/usr/bin/env bash
# ckpt core: a version as a core file, with every thread where it stood and the memory that it had.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cat >threads.py <<'PYTHON'
import threading, time
kept = [bytes([65 + i % 26]) * 5000 + b"needle" for i in range(26)]
for _ in range(3):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
print("ready", flush=True)
time.sleep(1000)
PYTHON
start_run --name core -- "$PYTHON" threads.py
wait_for_line "$OUT" '^ready$'
checkpoint core
end_program

expect_match "what it says" '^core\.core\.1: core@1, 4 threads, ' "$(ckpt core core@1)"
expect_refusal 125 'EEXIST' "$CKPT_BIN/ckpt" core core@1
expect_eq "permissions" 600 "$(stat -c %a core.core.1)"

"$PYTHON" - core.core.1 <<'PYTHON' || fail "the core file is not as it should be"
import struct, sys
data = open(sys.argv[1], "rb").read()
assert data[:4] == b"\x7fELF" and struct.unpack_from("<H", data, 16)[0] == 4, "no core file"
offset, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
segments = [struct.unpack_from("<IIQQQQQQ", data, offset + 56 * i) for i in range(count)]
notes = [s for s in segments if s[0] == 4]
assert len(notes) == 1
loads = [s for s in segments if s[0] == 1]
assert all(a[3] + a[6] <= b[3] for a, b in zip(loads, loads[1:])), "mappings overlap"
at, end, threads = notes[0][2], notes[0][2] + notes[0][5], []
while at < end:
    name_size, size, kind = struct.unpack_from("<III", data, at)
    content = at + 12 + (name_size + 3) // 4 * 4
    if kind == 1:
        threads.append(struct.unpack_from("<Q", data, content + 112 + 8 * 19)[0])  # rsp
    at = content + (size + 3) // 4 * 4
assert at == end and len(threads) == 4, f"{len(threads)} threads"
for stack in threads:
    assert any(s[3] <= stack < s[3] + s[5] for s in loads), f"stack {stack:#x} is not in the file"
for i in range(26):
    assert bytes([65 + i]) * 5000 + b"needle" in data, f"memory {i} is not in the file"
PYTHON
