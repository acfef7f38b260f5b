#include "store/page_gather.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "store/store_file.h"

namespace ckpt::store {
namespace {

// A gap this small is read along with what is around it: it costs less than another read.
constexpr std::uint64_t kGapPages = 16;
constexpr std::uint64_t kMostPages = ReadBuffers::kBytes / kPageBytes;

class Gather {
 public:
  Gather(const SegmentSet& segments, std::span<const Reference> pages, std::span<std::byte> out,
         const PageNames& names)
      : segments_(segments), pages_(pages), out_(out), names_(names), order_(pages.size()) {
    std::iota(order_.begin(), order_.end(), 0U);
    auto place = [&](std::uint32_t i) { return std::pair(pages_[i].segment, pages_[i].unit); };
    if (!std::ranges::is_sorted(order_, {}, place)) std::ranges::sort(order_, {}, place);
  }

  void run() {
    for (std::span<const std::uint32_t> left(order_); !left.empty();) {
      std::size_t adjacent = adjacent_count(left);
      std::size_t near = near_count(left);
      if (adjacent >= near) {
        read_adjacent(left.first(adjacent));
      } else {
        read_near(left.first(near));
      }
      left = left.subspan(std::max(adjacent, near));
    }
  }

 private:
  std::span<std::byte> out_of(std::uint32_t index, std::size_t count) const {
    return out_.subspan(index * kPageBytes, count * kPageBytes);
  }

  // How many, from the first on, follow each other in the segment and in the result.
  std::size_t adjacent_count(std::span<const std::uint32_t> order) const {
    const Reference& first = pages_[order[0]];
    std::size_t count = 1;
    while (count < order.size() && order[count] == order[0] + count &&
           pages_[order[count]].segment == first.segment &&
           pages_[order[count]].unit == std::uint64_t{first.unit} + count) {
      ++count;
    }
    return count;
  }

  // How many, from the first on, one read of a buffer's size gets without passing over much else.
  std::size_t near_count(std::span<const std::uint32_t> order) const {
    const Reference& first = pages_[order[0]];
    std::size_t count = 1;
    while (count < order.size() && pages_[order[count]].segment == first.segment &&
           pages_[order[count]].unit <= std::uint64_t{pages_[order[count - 1]].unit} + kGapPages &&
           pages_[order[count]].unit - first.unit < kMostPages) {
      ++count;
    }
    return count;
  }

  const Segment& segment_of(std::uint32_t index, std::uint64_t end_unit) const {
    const Segment* segment = segments_.find(pages_[index].segment);
    if (segment == nullptr || end_unit > segment->page_count()) {
      throw damaged(names_.path, fmt::format("page {:#x} of space {} lies outside the segment of version {}",
                                             names_.first_page + index, names_.space, pages_[index].segment));
    }
    return *segment;
  }

  void read_adjacent(std::span<const std::uint32_t> order) const {
    const Reference& first = pages_[order[0]];
    const Segment& segment = segment_of(order[0], first.unit + order.size());
    segments_.read_pages(segment, first.unit, out_of(order[0], order.size()));
    for (std::uint32_t index : order) verify(segment, index);
  }

  void read_near(std::span<const std::uint32_t> order) const {
    std::uint64_t first_unit = pages_[order.front()].unit;
    std::uint64_t end_unit = std::uint64_t{pages_[order.back()].unit} + 1;
    const Segment& segment = segment_of(order.back(), end_unit);
    ReadBuffers::Buffer buffer(segments_.buffers());
    std::span<std::byte> bytes = buffer.bytes().first((end_unit - first_unit) * kPageBytes);
    segments_.read_pages(segment, first_unit, bytes);
    for (std::uint32_t index : order) {
      std::size_t at = (pages_[index].unit - first_unit) * kPageBytes;
      std::memcpy(out_of(index, 1).data(), bytes.data() + at, kPageBytes);
      verify(segment, index);
    }
  }

  void verify(const Segment& segment, std::uint32_t index) const {
    if (digest_of(out_of(index, 1)) == pages_[index].digest) return;
    throw damaged(segment.path(), fmt::format("page {:#x} of space {} (version {}) does not match its digest",
                                              names_.first_page + index, names_.space, names_.version));
  }

  const SegmentSet& segments_;
  std::span<const Reference> pages_;
  std::span<std::byte> out_;
  const PageNames& names_;
  std::vector<std::uint32_t> order_;  // of the pages, by place
};

}  // namespace

void gather_pages(const SegmentSet& segments, std::span<const Reference> pages, std::span<std::byte> out,
                  const PageNames& names) {
  Gather(segments, pages, out, names).run();
}

}  // namespace ckpt::store
