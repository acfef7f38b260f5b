// Which pages of an address space are still to come, and from where in the store. Looked up from both sides:
// by address for faults and for what the program does to its memory, by source for reading in disk order.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace ckpt::engine {

// Consecutive pages at page number `page` of the address space that come from `source` on in the store.
struct MissingPiece {
  std::uint64_t page = 0;
  std::uint64_t source = 0;
  std::uint64_t page_count = 0;

  bool operator==(const MissingPiece&) const = default;
};

class MissingPages {
 public:
  // Must not overlap what is there already, on neither side.
  void add(const MissingPiece& piece);
  // The same; what goes on where the piece before it ends becomes one with it, whatever mappings they are in.
  void add_joined(const MissingPiece& piece);
  // Those that are missing in this range of addresses no longer are; take() returns them.
  std::vector<MissingPiece> take(std::uint64_t page, std::uint64_t page_count);
  void remove(std::uint64_t page, std::uint64_t page_count);
  // The range of addresses was moved; what was missing at the new place is forgotten.
  void move(std::uint64_t from, std::uint64_t to, std::uint64_t page_count);

  // The piece that `page` belongs to.
  std::optional<MissingPiece> find(std::uint64_t page) const;
  // The first missing page from `page` on, or ~0.
  std::uint64_t next(std::uint64_t page) const;
  // What of a range of the store is missing, ascending by source.
  std::vector<MissingPiece> from_source(std::uint64_t source, std::uint64_t page_count) const;

  std::vector<MissingPiece> all() const { return from_source(0, ~std::uint64_t{0}); }
  std::uint64_t page_count() const { return page_count_; }
  bool empty() const { return by_page_.empty(); }

 private:
  std::map<std::uint64_t, MissingPiece> by_page_;
  std::map<std::uint64_t, std::uint64_t> page_by_source_;  // of the pieces in by_page_
  std::uint64_t page_count_ = 0;
};

}  // namespace ckpt::engine
