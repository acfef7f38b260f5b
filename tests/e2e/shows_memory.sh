#!/usr/bin/env bash
# ckpt show tells how much of each mapping a version holds, what changed since the version before, and the environment.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cat >holds.py <<'SCRIPT'
import os, sys, time

MIB = 1 << 20
held = bytearray(os.urandom(16 * MIB))
print("ready", flush=True)
while not os.path.exists("change"):
    time.sleep(0.01)
held[:2 * MIB] = os.urandom(2 * MIB)
print("changed", flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
SCRIPT
SHOWN_VARIABLE='a value' start_run --name holds -- "$PYTHON" holds.py
wait_for_line "$OUT" '^ready$'
checkpoint holds
touch change
wait_for_line "$OUT" '^changed$'
checkpoint holds
touch go
expect_exit 0

cat >look.py <<'SCRIPT'
import json, sys

MIB = 1 << 20
first, second = (json.load(open(name))["image"] for name in sys.argv[1:])
for image in first, second:
    assert "SHOWN_VARIABLE=a value" in image["environment"], image["environment"]
    memory = image["memory"]
    assert memory["mapping_count"] == len(memory["mappings"])
    for kind in memory["kinds"]:
        for field in "held_bytes", "changed_bytes":
            of_kind = [m[field] for m in memory["mappings"] if m["kind"] == kind["kind"]]
            assert kind[field] == (None if None in of_kind else sum(of_kind)), kind
    assert 16 * MIB <= sum(kind["held_bytes"] for kind in memory["kinds"]) < 200 * MIB
assert first["memory"]["kinds"][0]["changed_bytes"] is None
assert 2 * MIB <= sum(kind["changed_bytes"] for kind in second["memory"]["kinds"]) < 14 * MIB
SCRIPT
ckpt show holds@1 --json >first.json
ckpt show holds@2 --json >second.json
"$PYTHON" look.py first.json second.json
text=$(ckpt show holds@2)
expect_match "memory in ckpt show" ' held, .* changed' "$text"
expect_match "environment in ckpt show" 'SHOWN_VARIABLE=a value' "$text"
