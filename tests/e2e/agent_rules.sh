#!/usr/bin/env bash
# The preloaded library disturbs nothing, and tells what the kernel forgets: who opened what, who reserved memory.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

program=$(program lives_with_agent)
second=$CKPT_PROGRAMS/preload/libsecond_preload.so

# runs_undisturbed NAME COMMAND...: checkpointed, killed, recovered, checkpointed again; the program checks itself.
runs_undisturbed() {
  local name=$1
  shift
  mkdir "$WORK/$name"
  start_run --name "$name" -- "$@" "$WORK/$name/go"
  wait_for_line "$OUT" '^ready$'
  checkpoint "$name"
  kill9_both
  recover "$name" -v
  wait_for_line "$ERR" "resumed $name@1 "
  checkpoint "$name"
  touch "$WORK/$name/go"
  wait_run
  expect_eq "last line of $name: $(head -n 5 "$OUT")" ok "$(tail -n 1 "$OUT")"
  expect_eq "exit status" 0 "$RUN_STATUS"
}

runs_undisturbed plain "$program"
for version in 1 2; do
  ckpt show "plain@$version" --json >shown
  expect_eq "who opened what in version $version" "/dev/null $program by-libc $program raw -" "$(json \
    '" ".join(d["detail"].split("/")[-1].replace("null", "/dev/null") + " " + d.get("origin", {"module": "-"})["module"]
      for d in data["image"]["descriptors"] if d["number"] > 2)' <shown)"
  expect_eq "who reserved memory" "$program" \
    "$(json '" ".join(r["module"] for r in data["image"]["reservations"] if r["bytes"] == 64 << 20)' <shown)"
done
expect_match "ckpt show" "by-libc +\[open by $program\]|by-libc  \[open by $program\]" "$(ckpt show plain)"

# Beside another preload, which comes first; the program executes another one on its way.
runs_undisturbed beside /usr/bin/env LD_PRELOAD="$second" "$program" "$second"
expect_match "who opened what" "by-libc $second" "$(ckpt show beside --json | json \
  '" ".join(d["detail"].split("/")[-1] + " " + d.get("origin", {"module": "-"})["module"] for d in data["image"]["descriptors"])')"

# With an allocator that maps memory before anything else works.
runs_undisturbed allocator /usr/bin/env LD_PRELOAD=libjemalloc.so.2 "$CKPT_PROGRAMS/discards_memory"

# It stays with a program that is executed without its environment, and can be left out.
runs_undisturbed emptied /usr/bin/env -i CKPT_TEST_MARK="$WORK" "$program"
expect_match "what the emptied environment's program opened" "by-libc $program" "$(ckpt show emptied --json | json \
  '" ".join(d["detail"].split("/")[-1] + " " + d.get("origin", {"module": "-"})["module"] for d in data["image"]["descriptors"])')"

# Another library, or none, in its place does not matter to what was checkpointed with it.
tree=$WORK/tree
mkdir -p "$tree"/{bin,lib,libexec/ckpt} "$WORK/updated"
cp "$CKPT_BIN/ckptrun" "$tree/bin"
cp "$(find -L "${CKPT_BIN%/*}/libexec" -name ckpt-restorer | head -n 1)" "$tree/libexec/ckpt"
cp "$(find -L "${CKPT_BIN%/*}"/lib* -name libckpt.so | head -n 1)" "$tree/lib"
RUN_COUNT=$((RUN_COUNT + 1)) OUT=$WORK/out.updated ERR=$WORK/err.updated
"$tree/bin/ckptrun" --name updated -- "$program" "$WORK/updated/go" >"$OUT" 2>"$ERR" </dev/null &
RUN_PID=$!
wait_for_line "$OUT" '^ready$'
checkpoint updated
checkpoint updated
# The first version has all of the library, the second builds on that.
looked_at=$(ckpt stats updated --json | json '(lambda v: v["pages_written"] + v["pages_skipped_parent"])(data["versions"][-1])')
(( looked_at < $(stat -c %s "$tree/lib/libckpt.so") / 4096 )) \
  || fail "the second version was made from $looked_at pages, the library among them"
kill9_both
rm "$tree/lib/libckpt.so"
touch "$WORK/updated/go"
recover updated
expect_exit 0
expect_eq "last line: $(head -n 5 "$OUT")" ok "$(tail -n 1 "$OUT")"

start_run --no-agent --name without -- "$program" "$WORK/plain/go"
expect_exit 0
[[ -e $CKPT_STORE/without ]] || fail "the run without the library was not recorded"

# What does not take it is started without it, by ckptrun and by programs: the runtime of AddressSanitizer has to be the
# first that is loaded, and says so otherwise.
cat >sanitized.c <<'SOURCE'
#include <stdio.h>
int main(void) { return puts("sanitized") < 0; }
SOURCE
cc -fsanitize=address -o sanitized sanitized.c
start_run --name sanitized -- ./sanitized
expect_exit 0
start_run --name starts_sanitized -- sh -c "./sanitized; PATH=$WORK:\$PATH env sanitized; exec ./sanitized"
expect_exit 0
expect_eq "what they print" "sanitized sanitized sanitized" "$(tr '\n' ' ' <"$OUT" | sed 's/ $//')"
expect_eq "what they complain about" "" "$(cat "$ERR")"
