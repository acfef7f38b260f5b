// The order in which resident lines are given up: two queues. Lines come in at the end of `active`; from its
// front they move to `inactive` when they are made cold (unmapped); from the front of that one they are
// evicted, unless they were used meanwhile, which puts them back into `active`.
//
// An entry may be out of date: its line may have lost its frame since. Whoever takes an entry looks at the
// state. Not thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <optional>

#include "heap/line_table.h"

namespace ckpt::vmheap {

class ResidentLines {
 public:
  ResidentLines(LineTable& table, const LineMap& map) : table_(table), map_(map) {}

  // Each line is in at most one queue, once.
  void add(Line line) {
    if (list(line)) add_active(line);
  }
  void add_for_once(Line line) {  // not to be used again
    if (list(line)) add_inactive(line);
  }
  void add_active(Line line) { active_.push(line, map_); }      // taken before
  void add_inactive(Line line) { inactive_.push(line, map_); }  // taken before
  // Lines without a frame are dropped on the way.
  std::optional<Line> take_active() { return take(active_); }
  std::optional<Line> take_inactive() { return take(inactive_); }

  // Entries.
  std::size_t active_count() const { return active_.lines.size(); }
  std::size_t inactive_count() const { return inactive_.lines.size(); }
  std::uint64_t inactive_pages() const { return inactive_.pages; }
  std::uint64_t pages() const { return active_.pages + inactive_.pages; }
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (Line line : active_.lines) visit(line);
    for (Line line : inactive_.lines) visit(line);
  }
  // Next to be given up: those for which `chosen` says so.
  template <typename Chosen>
  void put_first(const Chosen& chosen) {
    std::deque<Line> first = active_.remove(chosen, map_);
    std::ranges::copy(inactive_.remove(chosen, map_), std::back_inserter(first));
    for (; !first.empty(); first.pop_back()) inactive_.push_front(first.back(), map_);
  }
  // Without those for which `gone` says so.
  template <typename Gone>
  void remove(const Gone& gone) {
    for (Queue* queue : {&active_, &inactive_}) {
      for (Line line : queue->remove(gone, map_)) table_.clear(line, kListed);
    }
  }
  void clear() { active_ = inactive_ = {}; }

 private:
  struct Queue {
    void push(Line line, const LineMap& map) {
      lines.push_back(line);
      pages += map.length(line);
    }
    void push_front(Line line, const LineMap& map) {
      lines.push_front(line);
      pages += map.length(line);
    }
    Line pop(const LineMap& map) {
      Line line = lines.front();
      lines.pop_front();
      pages -= map.length(line);
      return line;
    }
    template <typename Chosen>
    std::deque<Line> remove(const Chosen& chosen, const LineMap& map) {
      std::deque<Line> removed;
      std::ranges::copy_if(lines, std::back_inserter(removed), chosen);
      std::erase_if(lines, chosen);
      for (Line line : removed) pages -= map.length(line);
      return removed;
    }

    std::deque<Line> lines;
    std::uint64_t pages = 0;
  };

  bool list(Line line) {
    if (table_.has(line, kListed)) return false;
    table_.set(line, kListed);
    return true;
  }

  std::optional<Line> take(Queue& queue) {
    while (!queue.lines.empty()) {
      Line line = queue.pop(map_);
      if (table_.has_frame(line)) return line;
      table_.clear(line, kListed);
    }
    return std::nullopt;
  }

  LineTable& table_;
  const LineMap& map_;
  Queue active_;
  Queue inactive_;
};

}  // namespace ckpt::vmheap
