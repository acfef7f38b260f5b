#!/usr/bin/env bash
# The examples of the persistent heap, and ckpt heap: what was committed is there after kill -9, with data ten times the
# resident limit.
#
# timeout: 60
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# --- Lua in a heap -------------------------------------------------------------------------------------------------

export PLUA_RESIDENT=$((4 << 20))
plua=$(program plua)

cat >grows.lua <<'LUA'
-- The first run makes 40 MiB of text and a coroutine; every run goes on with both.
if not texts then
  texts, runs = {}, 0
  counter = coroutine.wrap(function()
    local kept = "a local of a suspended coroutine"
    for i = 1, math.huge do coroutine.yield(i, kept) end
  end)
  for i = 1, 40 do texts[i] = string.rep(string.char(64 + i), 1 << 20) end
  log = io.open("log", "w")
  log:write("first run\n")
end
runs = runs + 1
local count, kept = counter()
for i = 1, 40 do
  assert(#texts[i] == 1 << 20 and texts[i]:byte(i * 1000) == 64 + i, "text " .. i)
end
print(runs, count, kept, io.type(log))
heap.commit()
local file = io.open("text", "w")
file:write(texts[1]:sub(1, 200000))
file:close()
if ... == "hang" then
  runs, texts = 1000, nil -- never committed
  print("hanging")
  io.stdout:flush()
  while true do end
end
LUA

"$plua" app.heap grows.lua >out.first
expect_eq "first run" "1	1	a local of a suspended coroutine	file" "$(head -n 1 out.first)"
expect_eq "a long string as it is" "$(printf 'A%.0s' {1..200000} | md5sum)" "$(md5sum <text)"
"$plua" app.heap grows.lua hang >out.second &
pid=$!
wait_for_line out.second '^hanging$'
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
expect_eq "second run" "2	2	a local of a suspended coroutine	closed file" "$(head -n 1 out.second)"
"$plua" app.heap grows.lua >out.third
expect_eq "run after kill -9" "3	3	a local of a suspended coroutine	closed file" "$(head -n 1 out.third)"

echo 'error("no " .. runs); runs = 1' >fails.lua
if "$plua" app.heap fails.lua 2>err.fails; then fail "an error went unnoticed"; fi
expect_match "the error" 'no 3' "$(cat err.fails)"

# --- ckpt heap -------------------------------------------------------------------------------------------------------

expect_match "verify" '^sound: ' "$(ckpt heap verify app.heap)"
expect_match "stat" '"line_bytes": 4096' "$(ckpt heap stat --json app.heap)"
newest=$(ckpt heap versions app.heap | tail -n 1 | cut -d ' ' -f 1)
ckpt heap export app.heap exported
ckpt heap import copied.heap exported
ckpt heap tag app.heap "$newest" good
expect_match "a tagged version" "^$newest .*, tagged good\$" "$(ckpt heap versions app.heap | tail -n 1)"
expect_match "rollback" '^version ' "$(ckpt heap rollback app.heap good)"
ckpt heap untag app.heap good
expect_match "compact" '^version ' "$(ckpt heap compact app.heap)"
expect_eq "versions after compact" 1 "$(ckpt heap versions app.heap | wc -l)"
echo 'print(runs, #texts, (counter()))' >asks.lua
for heap in app.heap copied.heap; do
  expect_eq "$heap" "3	40	4" "$("$plua" "$heap" asks.lua)"
done

# --- A heap in a store of checkpoints ----------------------------------------------------------------------------------

start_run --name counts -- "$(program counts)" "$WORK/go"
wait_for_line "$OUT" '^count 2$'
checkpoint counts
ckpt suspend counts >suspended
wait_run
"$plua" "$CKPT_STORE" asks.lua >/dev/null 2>&1 || true  # fails, and leaves a heap that is newer than the checkpoint
expect_eq "what lies in the store" "counts suspended heap heap" \
  "$(ckpt list --json | json '" ".join("{} {}".format(one["name"], one["state"]) for one in data["applications"])')"
expect_match "verify" 'heap: .*sound: 1' "$(ckpt verify --repair)"
expect_match "stat" '^version 1' "$(ckpt heap stat "$CKPT_STORE" | tail -n 1)"
expect_refusal 125 'is a heap, not a program' "$CKPT_BIN/ckptrun" --recover heap
expect_refusal 125 'is a heap, not a program' "$CKPT_BIN/ckptrun" --name heap -- true
expect_refusal 125 'not of a program' "$CKPT_BIN/ckpt" show heap@1
touch go
start_run --recover -v
expect_exit 0
expect_match "what was recovered" 'resumed counts@' "$(cat "$ERR")"

# It can be removed as others can, unless it is in use.
mkfifo hold
echo 'print("ready") io.stdout:flush() io.read()' >waits.lua
exec {held}<>hold
"$plua" "$CKPT_STORE" waits.lua <hold >out.waits &
wait_for_line out.waits '^ready$'
expect_refusal 125 'open for writing elsewhere' "$CKPT_BIN/ckpt" rm heap
echo >&"$held"
wait "$!"
ckpt rm heap
expect_eq "applications that are left" counts "$(ckpt list --json | json '" ".join(one["name"] for one in data["applications"])')"

# --- Boost containers in a heap ---------------------------------------------------------------------------------------

index() { "$(program word_index)" words.heap "$@"; }
for (( i = 0; i < 3000; i++ )); do printf 'word%d again ' "$i"; done >text1
printf 'again and again' >text2
index add text1 text2 >/dev/null
expect_eq "counts of another process" "again 3002
and 1
word77 1
absent 0" "$(index get again and word77 absent)"
expect_eq "most frequent" "3002 again" "$(index top 1)"
