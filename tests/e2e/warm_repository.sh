#!/usr/bin/env bash
# The example of a warm repository: a Python with its modules loaded runs scripts that it never saw, several at once.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cat >task.py <<'END'
import os, random, sys, time
loaded = "decimal" in sys.modules and "xml.dom.minidom" in sys.modules
import decimal
print("task", loaded, os.path.basename(__file__), *sys.argv[1:], decimal.Decimal(1) / 4, random.random(), flush=True)
while len(sys.argv) > 2 and not os.path.exists(sys.argv[2]):
    time.sleep(0.005)
END

library=$(find -L "${CKPT_BIN%/*}"/lib* -name libckpt.so | head -n 1)
export CKPT_LIBRARY=$library PYTHONDONTWRITEBYTECODE=1
repository=$CKPT_TEST_ROOT/examples/warm_python/repository.py

start_run --name repo -- "$PYTHON" "$repository" decimal xml.dom.minidom
wait_for_line "$OUT" '^ready: decimal xml.dom.minidom$'
expect_exit 0

# One after the other, then three at once: own applications, own random numbers.
for word in first second; do
  recover repo@1 -- "$WORK/task.py" "$word"
  expect_exit 0
  expect_match "output" "^task True task.py $word 0.25 0\.[0-9e-]+$" "$(cat "$OUT")"
done
outputs=() pids=()
for clone in one two three; do
  start_run --recover repo@1 --clone "$clone" -- "$WORK/task.py" "$clone" "$WORK/go"
  outputs+=("$OUT") pids+=("$RUN_PID")
done
for output in "${outputs[@]}"; do wait_for_line "$output" '^task True task.py '; done
expect_eq "applications that run" 'one three two' \
  "$(ckpt list --json | "$PYTHON" -c "
import json, sys
print(*sorted(a['name'] for a in json.load(sys.stdin)['applications'] if a['state'] == 'running'))")"
expect_eq "different random numbers" 3 "$(cat "${outputs[@]}" | awk '{print $NF}' | sort -u | wc -l)"
touch go
wait "${pids[@]}"

# A cold start needs no repository, and a script is named.
recover repo@1
expect_exit 1
expect_match "message" 'which script' "$(cat "$ERR")"
