#!/usr/bin/env bash
# The resident limit of a heap is real: one of 16 times as much is written and read at random within it. Root shows it by a
# memory cgroup of the limit and 64 MiB, page cache included, and no swap; everybody by the heap's memory file and by how
# much the process grows.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly LIMIT_MIB=24
size_mib=$(share_of 4096 384)
readonly BATCH_KIB=4096  # what may be on its way at once

# Prints the directory of a new memory cgroup with this limit; fails where none can be made.
make_group() {
  local parent limit_file=memory.limit_in_bytes
  parent=/sys/fs/cgroup/memory
  if [[ ! -d $parent ]]; then
    parent=/sys/fs/cgroup limit_file=memory.max
    grep -qw memory "$parent/cgroup.subtree_control" 2>/dev/null || return 1
  fi
  local group=$parent/ckpt-test.$$
  mkdir "$group" 2>/dev/null || return 1
  echo "$(( (LIMIT_MIB + 64) << 20 ))" >"$group/$limit_file" || { rmdir "$group"; return 1; }
  [[ ! -e $group/memory.swap.max ]] || echo 0 >"$group/memory.swap.max"
  echo "$group"
}

run_in_group() {
  local group=$1 status=0
  shift
  # shellcheck disable=SC2016 # of the inner shell
  sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$@" || status=$?
  rmdir "$group"
  return "$status"
}

if group=$(make_group); then
  run_in_group "$group" "$(program exceeds_memory)" "$WORK/heap" "$size_mib" "$LIMIT_MIB" >measured 2>err.measured \
    || fail "in a memory cgroup: $(cat err.measured)"
else
  (( EUID != 0 )) || echo "no memory cgroup can be made here"
  "$(program exceeds_memory)" "$WORK/heap" "$size_mib" "$LIMIT_MIB" >measured 2>err.measured || fail "$(cat err.measured)"
fi
expect_eq "the last line" ok "$(tail -n 1 measured)"
file=$(sed -n 's/^file //p' measured) grown=$(sed -n 's/^grown //p' measured)
(( file <= LIMIT_MIB * 1024 + BATCH_KIB )) || fail "the heap's memory file had $file KiB, the limit is $LIMIT_MIB MiB"
(( grown <= (LIMIT_MIB + 64) * 1024 )) || fail "the process grew by $grown KiB, the limit is $LIMIT_MIB MiB"
