#!/usr/bin/env bash
# Programs that need several times as much memory as they may have (--heap-resident) run within it, are checkpointed, killed
# and recovered, and find all of it as it must be. A memory cgroup of the limit and 64 MiB shows the limit, page cache
# included, without swap.
#
#   limited_memory.sh [ROW...]
#
# timeout: 300
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
CKPT_TEST_SCRIPT+=" $*"  # for the command that repeats a failure

LIMIT_MIB=$(share_of 256 48)
size_mib=$(share_of 2560 192)
generations=$(share_of 10 2)

# runs_within NAME COMMAND...: a program that prints "built", then "round N" for as long as there is no file `go`, and at the
# end "ok", if everything is as it must be.
runs_within() {
  local name=$1 generation
  shift
  RUN_UNDER=(${IN_MEMORY_GROUP[@]+"${IN_MEMORY_GROUP[@]}"})
  start_run --name "$name" --heap-resident "${LIMIT_MIB}M" -v -- "$@"
  wait_for_line "$OUT" '^built$'
  find_program_pid
  expect_within
  wait_for_growth "$OUT" 2
  for (( generation = 1; generation <= generations; generation++ )); do
    checkpoint "$name"
    wait_for_growth "$OUT" 2
    if (( generation % 2 )); then
      kill9_family
    else
      kill9_supervisor
      wait_until "the end of the program without ckptrun" process_is_gone "$PROGRAM_PID"
    fi
    recover "$name" -v
    wait_for_growth "$OUT" 3
    find_program_pid
    expect_within
  done
  touch go
  expect_exit 0
  expect_eq "what is wrong with the memory of $name" ok "$(grep -vE '^(built|round [0-9]+)$' "$OUT")"
  expect_match "what came back" 'memory came back [1-9][0-9]* times' "$(cat "$ERR")"
  rm go
  echo "$name: $size_mib MiB within $LIMIT_MIB MiB"
}

# Of the program's own memory; the most that it ever had is the group's to say.
expect_within() {
  local anonymous
  anonymous=$(sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$PROGRAM_PID/status")
  (( anonymous <= LIMIT_MIB * 1024 )) || fail "the program has $anonymous KiB, the limit is $LIMIT_MIB MiB"
}

write_python() {
  cat >pieces.py <<'SCRIPT'
import os, random, sys, zlib

PIECE = 32768
count = int(sys.argv[1]) * 2**20 // PIECE
random.seed(1)
pieces = [bytearray(random.randbytes(PIECE)) for _ in range(count)]
sums = [zlib.crc32(piece) for piece in pieces]
print("built", flush=True)
number = 0
while not os.path.exists("go"):
    for _ in range(count // 16):
        at = random.randrange(count)
        if zlib.crc32(pieces[at]) != sums[at]:
            print("piece", at, "differs in round", number, flush=True)
        if at % 3 == 0:
            pieces[at][random.randrange(PIECE)] ^= 0x55
            sums[at] = zlib.crc32(pieces[at])
        elif at % 3 == 1:
            pieces[at] = bytearray(random.randbytes(PIECE + at % 5 * 4096))
            sums[at] = zlib.crc32(pieces[at])
    number += 1
    print("round", number, flush=True)
    if number == 4 and len(sys.argv) > 2:
        os.execv(sys.executable, [sys.executable, sys.argv[0], sys.argv[1]])
print("ok" if all(zlib.crc32(piece) == total for piece, total in zip(pieces, sums)) else "differs")
SCRIPT
}

in_python() {
  write_python
  runs_within in_python "$PYTHON" pieces.py "$size_mib"
}

# One that executes another program, of whose memory nothing is missing.
replaced() {
  write_python
  runs_within replaced "$PYTHON" pieces.py "$((size_mib / 2))" replaced
}

in_lua() {
  cat >in_lua.lua <<'SCRIPT'
local count = tonumber(arg[1]) * 64
local values = {}
for i = 1, count do values[i] = { i, string.rep(string.char(i % 251 + 1), 16000 + i % 97), i * 7 } end
print("built")
io.stdout:flush()
local function is_there(name)
  local file = io.open(name)
  if file then file:close() end
  return file ~= nil
end
local function check(i)
  local value = values[i]
  local same = value[1] == i and value[3] == i * 7 and #value[2] == 16000 + i % 97 and
    value[2]:byte(i % 16000 + 1) == i % 251 + 1 and value[2]:byte(-1) == i % 251 + 1
  if not same then print("value", i, "differs") end
  return same
end
local round = 0
while not is_there("go") do
  for _ = 1, count // 16 do
    local i = math.random(count)
    check(i)
    if i % 2 == 0 then values[i] = { i, string.rep(string.char(i % 251 + 1), 16000 + i % 97), i * 7 } end
  end
  round = round + 1
  print("round " .. round)
  io.stdout:flush()
end
local same = true
for i = 1, count do same = check(i) and same end
print(same and "ok" or "differs")
SCRIPT
  runs_within in_lua "$LUA" in_lua.lua "$size_mib"
}

# Arrays that move when they grow, children with a copy of the memory, memory that is given back.
in_c() {
  runs_within in_c "$(program moves_much_memory)" "$size_mib" "$WORK/in_c/go"
}

# A program that takes all that it can have: it is told that there is no more, is checkpointed as it is, and comes back
# with the same bound.
bounded() {
  cat >takes_all.py <<'SCRIPT'
import os, time

def take():
    held = []
    try:
        while len(held) < 4096:
            held.append(bytearray(os.urandom(1 << 20)))
    except MemoryError:
        pass
    print("took", len(held), flush=True)
    return held

held = take()
while not os.path.exists("go"):
    time.sleep(0.01)
held = None
take()
SCRIPT
  RUN_UNDER=(${IN_MEMORY_GROUP[@]+"${IN_MEMORY_GROUP[@]}"})
  start_run --name bounded --heap-resident "${LIMIT_MIB}M" --heap-size "$((LIMIT_MIB * 3))M" -- "$PYTHON" takes_all.py
  wait_for_line "$OUT" '^took '
  took=$(sed -n 's/^took //p' "$OUT")
  (( took > LIMIT_MIB * 2 && took <= LIMIT_MIB * 3 )) || fail "the program took $took MiB of $((LIMIT_MIB * 3))"
  checkpoint bounded
  kill9_family
  recover bounded
  touch go
  expect_exit 0
  took_again=$(sed -n 's/^took //p' "$OUT" | tail -n 1)
  (( took_again > LIMIT_MIB * 2 && took_again <= LIMIT_MIB * 3 )) \
    || fail "the program, recovered, took $took_again MiB of $((LIMIT_MIB * 3))"
  rm go
}

# Pools of children that read all of it come and go meanwhile: each has all of its memory, and gives back the
# processors late.
in_pools() {
  cat >pools.py <<'SCRIPT'
import multiprocessing, os, random, sys, zlib

PIECE = 32768
count = int(sys.argv[1]) * 2**20 // PIECE
random.seed(1)
pieces = [bytearray(random.randbytes(PIECE)) for _ in range(count)]
sums = [zlib.crc32(piece) for piece in pieces]

def right(part):
    return all(zlib.crc32(pieces[i]) == sums[i] for i in range(part * count // 6, (part + 1) * count // 6))

multiprocessing.set_start_method("fork")
print("built", flush=True)
number = 0
while not os.path.exists("go"):
    with multiprocessing.Pool(3) as pool:
        if not all(pool.map(right, range(6))):
            print("a child finds something else in round", number, flush=True)
    for _ in range(count // 16):
        at = random.randrange(count)
        pieces[at] = bytearray(random.randbytes(PIECE))
        sums[at] = zlib.crc32(pieces[at])
    print("round", number, flush=True)
    number += 1
print("ok" if all(map(right, range(6))) else "differs")
SCRIPT
  RUN_UNDER=()
  start_run --name in_pools --heap-resident "${LIMIT_MIB}M" -- "$PYTHON" pools.py "$((LIMIT_MIB * 2))"
  wait_for_growth "$OUT" 3
  for (( i = 0; i < 6; i++ )); do checkpoint in_pools; done
  kill9_family
  recover in_pools
  wait_for_growth "$OUT" 2
  for (( i = 0; i < 6; i++ )); do checkpoint in_pools; done
  touch go
  expect_exit 0
  expect_eq "what is wrong with the memory" ok "$(grep -vE '^(built|round [0-9]+)$' "$OUT")"
  rm go
}

# What is excluded has been discarded before, and no version has it from then on.
excluded() {
  RUN_UNDER=(${IN_MEMORY_GROUP[@]+"${IN_MEMORY_GROUP[@]}"})
  start_run --name excluded --heap-resident "${LIMIT_MIB}M" -- \
    "$(program excludes_missing_memory)" $((LIMIT_MIB * 3 / 2)) "$WORK/excluded/go"
  wait_for_line "$OUT" '^ready$'
  checkpoint excluded
  wait_until "memory to be discarded" has_discarded "$(find_program_pid && echo "$PROGRAM_PID")"
  touch go.exclude
  wait_for_line "$OUT" '^excluded$'
  checkpoint excluded
  checkpoint excluded
  touch go
  expect_exit 0
  expect_eq "what is wrong with the memory" ok "$(tail -n +3 "$OUT")"
  rm go go.exclude
}

has_discarded() {
  (( $(sed -n 's/^RssAnon:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status") < LIMIT_MIB * 1024 ))
}

# Refused whoever asks.
expect_refusal 125 'give --heap-resident, too' "$CKPT_BIN/ckptrun" --heap-size 1G -- true
for wrong in 12 5X none ''; do
  expect_refusal 125 "heap-size" "$CKPT_BIN/ckptrun" --heap-resident 64M --heap-size "$wrong" -- true
done
expect_refusal 125 'hard limit of data' \
  prlimit --data=1000000000 "$CKPT_BIN/ckptrun" --heap-resident 64M --heap-size 1G -- true
if ! "$CKPT_BIN/ckptrun" --heap-resident 64M -- true 2>refused; then
  rm -rf "$CKPT_STORE"
  expect_refusal 125 'a limit of memory needs (CAP_SYS_PTRACE|Linux 6.7)' "$CKPT_BIN/ckptrun" --heap-resident 64M -- true
  expect_eq "applications" '' "$(ls "$CKPT_STORE" 2>/dev/null || true)"
  echo "refused to who may not see the faults of the program"
  exit 0
fi
for wrong in 12 1M 5X -3M '' 99999999999G; do
  expect_refusal 125 "heap-resident" "$CKPT_BIN/ckptrun" --heap-resident "$wrong" -- true
done
make_memory_group $((LIMIT_MIB + 64)) || echo "no memory cgroup can be made here"
if (( $# == 0 )); then set -- in_python replaced in_lua in_c in_pools bounded excluded; fi
for row; do
  mkdir "$WORK/$row"
  cd "$WORK/$row" || exit
  "$row"
  cd "$WORK" || exit
done
