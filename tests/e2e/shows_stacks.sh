#!/usr/bin/env bash
# ckpt show --stacks: every thread's stack, as it stands in the checkpoint, frame by frame what gdb finds in the core
# file of the same version.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_run --name stacks -- "$(program stands_in_functions)" "$WORK/go"
wait_for_line "$OUT" '^ready$'
checkpoint stacks
ckpt show stacks@1 --stacks --json >stacks.json
ckpt show stacks@1 --stacks >stacks.txt
touch go
expect_exit 0
expect_eq "last word of the program" ok "$(tail -n 1 "$OUT")"

"$PYTHON" - stacks.json <<'PYTHON' || fail "the stacks are not as they should be"
import json, sys
stacks = json.load(open(sys.argv[1]))["stacks"]
chains = ["<".join(frame["function"] or "?" for frame in stack["frames"]) for stack in stacks]
assert len(chains) == 3, f"{len(chains)} threads"
for expected in ("in_handler<on_signal<", "<" + "descends<" * 6 + "main<", "<wait_at_gate<waits_inside<waiting_thread<",
                 "spins_inside<spinning_thread<"):
    assert any(expected in "<" + chain + "<" for chain in chains), f"{expected} in none of {chains}"
assert "in_handler<" in chains[0] and "<descends<" in chains[0], "the main thread is not the first"
assert all(stack["broken_off"] is None for stack in stacks), [stack["broken_off"] for stack in stacks]
PYTHON
expect_match "text" '#[0-9]+ +0x[0-9a-f]+  in_handler\+0x[0-9a-f]+ .*\(stands_in_functions\)' "$(cat stacks.txt)"

command -v gdb >/dev/null || { echo "gdb is not here to compare with"; exit 0; }
ckpt core stacks@1 -o core >/dev/null
cat >frames.py <<'PYTHON'
import gdb, json
threads = {}
for thread in gdb.selected_inferior().threads():
    thread.switch()
    frame, addresses = gdb.newest_frame(), []
    while frame is not None:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):  # those have no memory on the stack
            addresses.append(frame.pc())
        frame = frame.older()
    threads[thread.ptid[1]] = addresses
json.dump(threads, open("gdb.json", "w"))
PYTHON
gdb -q -nx -batch -ex 'set debuginfod enabled off' -ex 'set backtrace past-main on' -x frames.py \
  "$(program stands_in_functions)" core >gdb.out 2>gdb.err </dev/null || { cat gdb.err; fail "gdb cannot open the core file"; }
"$PYTHON" - stacks.json gdb.json <<'PYTHON' || { cat stacks.txt; fail "gdb sees other stacks"; }
import json, sys
ours = {str(stack["tid"]): [frame["address"] for frame in stack["frames"]]
        for stack in json.load(open(sys.argv[1]))["stacks"]}
theirs = json.load(open(sys.argv[2]))
assert ours.keys() == theirs.keys(), f"threads {sorted(ours)}, {sorted(theirs)} in gdb"
for tid, addresses in ours.items():
    assert addresses == theirs[tid], f"thread {tid}: {[hex(a) for a in addresses]}, {[hex(a) for a in theirs[tid]]} in gdb"
PYTHON
