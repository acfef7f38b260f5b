// Bytes of page-tree nodes that were read or written lately. Segments are written past the page cache, so
// without it each checkpoint would read, one by one, the nodes that the one before it wrote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "store/segment_format.h"

namespace ckpt::store {

using NodeBytes = std::shared_ptr<const std::vector<std::byte>>;

// Thread-safe. Forgets what was used longest ago.
class NodeCache {
 public:
  // The trees of 4 GiB of memory, with their deltas.
  static constexpr std::size_t kDefaultBytes = 40U << 20;

  explicit NodeCache(std::size_t limit_bytes = kDefaultBytes) : limit_(limit_bytes) {}

  // nullptr if it is not there. Only bytes with the digest of the reference are returned: the number of a
  // version that failed is used again.
  NodeBytes find(const Reference& node);
  void insert(const Reference& node, NodeBytes bytes);
  void erase(const Reference& node);
  std::size_t size_bytes() const;

 private:
  struct Entry {
    Reference node;
    NodeBytes bytes;
  };
  using Entries = std::list<Entry>;
  void remove(Entries::iterator entry);

  mutable std::mutex mutex_;
  std::size_t limit_;
  std::size_t used_ = 0;
  Entries entries_;                                             // used last first
  std::unordered_map<std::uint64_t, Entries::iterator> index_;  // key: segment and unit
};

}  // namespace ckpt::store
