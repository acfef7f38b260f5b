// Pairs of a key and a value that are inserted in no order, into a heap and into LMDB, with a durable commit
// after every so many.
#pragma once

#include <cstdint>
#include <string>

namespace ckpt::bench {

struct PairsToInsert {
  std::uint64_t count = 0;
  std::uint64_t per_commit = 0;
  std::uint64_t resident_bytes = 0;  // of the heap; for LMDB a memory cgroup is the limit

  // Of a pair: an 8-byte key and a value of 100 bytes.
  static constexpr std::uint64_t kPairBytes = 108;
};

// Into an index with open addressing and a log of values behind it. Each looks its key up first, since it may
// be there. Seconds.
double insert_pairs_in_heap(const std::string& directory, const PairsToInsert& pairs);

// Into a database whose pages are written in place of a mapping (MDB_WRITEMAP, which is faster and needs less
// memory), and synced at every commit. Throws Error where this was
// built without it.
double insert_pairs_in_lmdb(const std::string& directory, const PairsToInsert& pairs);
bool has_lmdb();

}  // namespace ckpt::bench
