#include "store/table_cache.h"

#include <utility>

namespace ckpt::store {

std::shared_ptr<const Table> TableCache::find(const Reference& node) {
  std::lock_guard lock(mutex_);
  auto found = index_.find(node.place());
  // The number of a version that failed is used again; its digests differ.
  if (found == index_.end() || found->second->node != node) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->table;
}

void TableCache::insert(const Reference& node, std::shared_ptr<const Table> table) {
  std::lock_guard lock(mutex_);
  if (auto old = index_.find(node.place()); old != index_.end()) {
    entries_.erase(old->second);
    index_.erase(old);
  }
  entries_.push_front({.node = node, .table = std::move(table)});
  index_.emplace(node.place(), entries_.begin());
  if (entries_.size() <= limit_) return;
  index_.erase(entries_.back().node.place());
  entries_.pop_back();
}

}  // namespace ckpt::store
