#include "store/node_cache.h"

#include <utility>

namespace ckpt::store {
namespace {

// What an entry costs beside its bytes: list and hash nodes, control blocks, heads of allocations.
constexpr std::size_t kOverheadBytes = 192;

std::size_t cost_of(const NodeBytes& bytes) { return bytes->size() + kOverheadBytes; }

}  // namespace

NodeBytes NodeCache::find(const Reference& node) {
  std::lock_guard lock(mutex_);
  auto found = index_.find(node.place());
  if (found == index_.end() || found->second->node != node) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->bytes;
}

void NodeCache::insert(const Reference& node, NodeBytes bytes) {
  std::lock_guard lock(mutex_);
  if (auto old = index_.find(node.place()); old != index_.end()) remove(old->second);
  if (cost_of(bytes) > limit_) return;
  used_ += cost_of(bytes);
  entries_.push_front({.node = node, .bytes = std::move(bytes)});
  index_.emplace(node.place(), entries_.begin());
  while (used_ > limit_) remove(std::prev(entries_.end()));
}

void NodeCache::erase(const Reference& node) {
  std::lock_guard lock(mutex_);
  if (auto found = index_.find(node.place()); found != index_.end()) remove(found->second);
}

std::size_t NodeCache::size_bytes() const {
  std::lock_guard lock(mutex_);
  return used_;
}

void NodeCache::remove(Entries::iterator entry) {
  used_ -= cost_of(entry->bytes);
  index_.erase(entry->node.place());
  entries_.erase(entry);
}

}  // namespace ckpt::store
