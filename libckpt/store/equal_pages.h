// Pages that are about to be written, and that are in a segment already: they are referred to there.
//
// Hard rules:
//   1. Equal digests are not enough: the bytes are read and compared.
//   2. Only segments that are visible, and the one being written, are referred to. What is dead in those of
//      removed versions may have been given back, and a descriptor from before does not show it.
//   3. To find out must not cost more than to write: runs are read at once, single pages only some, and a
//      disk that is busy with others is not asked for ever.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "store/known_pages.h"
#include "store/read_buffers.h"
#include "store/segment.h"

namespace ckpt::store {

class EqualPages {
 public:
  // Fills `out` with pages of the segment being written, from `unit` on.
  using ReadOwn = std::function<void(std::uint64_t unit, std::span<std::byte> out)>;

  struct Places {
    std::shared_ptr<const SegmentSet> segments = nullptr;  // nullptr: none
    std::vector<std::uint32_t> usable = {};                // of them; ascending
    std::uint32_t own = 0;                                 // the segment being written
    ReadOwn read_own = nullptr;                            // nullptr: it cannot be read
  };

  // `known` outlives this.
  EqualPages(KnownPages& known, Places places) : known_(known), places_(std::move(places)) {}

  // How many of `pages`, from the first on, stand one after the other in a segment; `first` is where. 0: the
  // first one has to be written. digests[i] is that of page i. The segment being written has `own_pages` so
  // far.
  std::size_t find(std::span<const std::byte> pages, std::span<const Digest> digests, std::uint64_t own_pages,
                   Reference& first);
  // This page has been written.
  void add(const Reference& page);

 private:
  std::size_t count_candidates(std::span<const Digest> digests, std::uint64_t own_pages,
                               Reference& first) const;
  bool is_usable(const Reference& first, std::size_t count, std::uint64_t own_pages) const;
  bool may_read(std::size_t count);
  bool read_counted(const Reference& first, std::span<std::byte> out);
  bool read(const Reference& first, std::span<std::byte> out) const;

  KnownPages& known_;
  Places places_;
  ReadBuffers buffers_;
  std::optional<ReadBuffers::Buffer> buffer_;
  Reference read_last_;  // what it begins with
  std::uint64_t written_ = 0;
  std::uint64_t short_reads_ = 0;
  std::uint64_t found_ = 0;
  std::chrono::nanoseconds spent_{0};  // on reading
};

}  // namespace ckpt::store
