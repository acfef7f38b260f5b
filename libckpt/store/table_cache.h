// Leaves of page trees that were looked at lately, ready for use. A reader that looks up single pages at
// random reads and decodes each leaf once instead of for every page. Shared by the readers of successive
// versions, which have most leaves in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "store/segment_format.h"

namespace ckpt::store {

// Thread-safe. Forgets what was used longest ago.
class TableCache {
 public:
  explicit TableCache(std::size_t limit_tables) : limit_(limit_tables) {}

  std::shared_ptr<const Table> find(const Reference& node);  // nullptr: not there
  void insert(const Reference& node, std::shared_ptr<const Table> table);

 private:
  struct Entry {
    Reference node;
    std::shared_ptr<const Table> table;
  };
  using Entries = std::list<Entry>;

  std::mutex mutex_;
  std::size_t limit_;
  Entries entries_;                                             // used last first
  std::unordered_map<std::uint64_t, Entries::iterator> index_;  // key: segment and unit
};

}  // namespace ckpt::store
