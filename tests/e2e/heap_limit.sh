#!/usr/bin/env bash
# The resident limit of a heap is real: one of 16 times as much is written and read at random within it. Root shows it by a
# memory cgroup of the limit and 64 MiB, page cache included, and no swap; everybody by the heap's memory file and by how
# much the process grows.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly LIMIT_MIB=24
size_mib=$(share_of 4096 384)
readonly BATCH_KIB=4096  # what may be on its way at once

make_memory_group $((LIMIT_MIB + 64)) || (( EUID != 0 )) || echo "no memory cgroup can be made here"
"${IN_MEMORY_GROUP[@]}" "$(program exceeds_memory)" "$WORK/heap" "$size_mib" "$LIMIT_MIB" >measured 2>err.measured \
  || fail "${MEMORY_GROUP:+in a memory cgroup: }$(cat err.measured)"
expect_eq "the last line" ok "$(tail -n 1 measured)"
file=$(sed -n 's/^file //p' measured) grown=$(sed -n 's/^grown //p' measured)
(( file <= LIMIT_MIB * 1024 + BATCH_KIB )) || fail "the heap's memory file had $file KiB, the limit is $LIMIT_MIB MiB"
(( grown <= (LIMIT_MIB + 64) * 1024 )) || fail "the process grew by $grown KiB, the limit is $LIMIT_MIB MiB"
