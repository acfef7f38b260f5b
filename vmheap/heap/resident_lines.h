// The order in which resident lines are given up: two queues. Lines come in at the end of `active`; from its
// front they move to `inactive` when they are made cold (unmapped); from the front of that one they are
// evicted, unless they were used meanwhile, which puts them back into `active`.
//
// An entry may be out of date: its line may have lost its frame since. Whoever takes an entry looks at the
// state. Not thread-safe.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>

#include "heap/line_table.h"

namespace ckpt::vmheap {

class ResidentLines {
 public:
  explicit ResidentLines(LineTable& table) : table_(table) {}

  // Each line is in at most one queue, once.
  void add(Line line) {
    if (table_.has(line, kListed)) return;
    table_.set(line, kListed);
    active_.push_back(line);
  }
  void add_active(Line line) { active_.push_back(line); }      // taken before
  void add_inactive(Line line) { inactive_.push_back(line); }  // taken before
  // Lines without a frame are dropped on the way.
  std::optional<Line> take_active() { return take(active_); }
  std::optional<Line> take_inactive() { return take(inactive_); }

  std::size_t active_count() const { return active_.size(); }
  std::size_t inactive_count() const { return inactive_.size(); }
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (Line line : active_) visit(line);
    for (Line line : inactive_) visit(line);
  }
  void clear() {
    active_.clear();
    inactive_.clear();
  }

 private:
  std::optional<Line> take(std::deque<Line>& queue) {
    while (!queue.empty()) {
      Line line = queue.front();
      queue.pop_front();
      if (table_.has_frame(line)) return line;
      table_.clear(line, kListed);
    }
    return std::nullopt;
  }

  LineTable& table_;
  std::deque<Line> active_;
  std::deque<Line> inactive_;
};

}  // namespace ckpt::vmheap
