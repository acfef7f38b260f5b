// The state of every line of a heap: one byte each, in sparse memory, so that a large empty heap costs
// nothing.
//
// A line is the unit of paging: a power of two of bytes, 4 KiB to 1 MiB, at a multiple of it, the same within
// a region of the heap (line_map.h). Its entry is that of its first page; those of its other pages are zero.
//
// With what is elsewhere, an entry says of a line
//   type       user, or system (nursery included)   kSpecial
//   resident   it has a frame                       state >= kBusy
//   dirty      newer than the store's               kDirty, kWaiting
//   flushing   being stored                         kWaiting, then kBusy
//   length                                          LineMap::length()
//   location   in memory: its offset in the memfd is that in the heap; on disk: the pages of its number in
//   the
//              committed version, or in the one under way (kStored)
//
//   state        frame  content                                   mapped in the view
//   kPersistent  no     what the store has; absent: zeroes        no
//   kEmpty       no     zeroes; the store may have something old  no
//   kBusy        yes    one thread fills, stores or frees it      not writable
//   kResident    yes    what the store has                        read-only, or not (kCold)
//   kDirty       yes    newer than the store's                    writable, or not (kCold)
//   kWaiting     yes    frozen by a commit, not stored yet        read-only, or not (kCold)
//
// Transitions, all under the pager's lock (who, in pager*.cpp):
//   kPersistent -> kBusy -> kResident | kDirty   a fault (read | write) fills it             fill
//   kEmpty      -> kBusy -> kDirty               a fault; zeroes are newer than the store's  fill
//   kResident   -> kDirty                        first write                                 serve
//   kDirty      -> kBusy -> kResident            stored early to become clean                flush
//   kResident   -> kBusy -> kPersistent          evicted                                     evict
//   kDirty      -> kWaiting                      a commit freezes it                         freeze
//   kWaiting    -> kBusy -> kResident            the commit stores it                        store_frozen
//   kWaiting    -> kBusy -> kDirty               written during a commit: stored at once     serve
//   any with or without a frame -> kEmpty        discarded                                   discard
//   any         -> kPersistent                   rollback                                    reset
//   kResident, kDirty (by kBusy), kEmpty -> kPersistent   its region gets lines of another size   clear_out
//
// Not thread-safe: the pager's lock protects it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "heap/line_map.h"

namespace ckpt::vmheap {

enum class LineState : std::uint8_t { kPersistent, kEmpty, kBusy, kResident, kDirty, kWaiting };

enum LineFlag : std::uint8_t {
  kCold = 0x08,     // unmapped, to see whether it is used again
  kStored = 0x10,   // put into the version under way since the last commit: not in the committed version
  kPinned = 0x20,   // neither evicted nor made cold
  kListed = 0x40,   // in the lists of resident lines
  kSpecial = 0x80,  // in a system or nursery range
};

class LineTable {
 public:
  explicit LineTable(std::uint64_t most_pages);
  ~LineTable();
  LineTable(const LineTable&) = delete;
  LineTable& operator=(const LineTable&) = delete;

  LineState state(Line line) const { return static_cast<LineState>(entries_[line] & kStateBits); }
  void set_state(Line line, LineState state) {
    entries_[line] = static_cast<std::uint8_t>((entries_[line] & ~kStateBits) | static_cast<unsigned>(state));
  }
  bool has(Line line, LineFlag flag) const { return (entries_[line] & flag) != 0; }
  void set(Line line, LineFlag flag) { entries_[line] |= flag; }
  void clear(Line line, LineFlag flag) {
    entries_[line] = static_cast<std::uint8_t>(entries_[line] & ~unsigned{flag});
  }
  bool has_frame(Line line) const { return state(line) >= LineState::kBusy; }

  // All lines as in a new table, but those for which `keep` is set.
  void reset(const std::vector<Line>& keep);

 private:
  static constexpr unsigned kStateBits = 0x07;
  std::uint64_t size_;
  std::uint8_t* entries_ = nullptr;
};

}  // namespace ckpt::vmheap
