// Recognises faults that go through the heap in order, several streams at once, and says how much to read
// ahead. Not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "heap/line_table.h"

namespace ckpt::vmheap {

class SequentialFaults {
 public:
  // `most`: pages that one fault may bring in, unless a single line is longer.
  explicit SequentialFaults(std::uint64_t most) : most_(std::max<std::uint64_t>(most, 1)) {}

  // How many pages, from `line` on, this fault should bring in; `length`: of the line.
  std::uint64_t window(Line line, std::uint64_t length) {
    ++now_;
    for (Stream& stream : streams_) {
      if (line < stream.next || line > stream.next + kSlack * length) continue;
      stream.window = std::max(std::min(most_, stream.window * 2), length);
      return advance(stream, line);
    }
    Stream& oldest = *std::ranges::min_element(streams_, {}, &Stream::used);
    oldest.window = length;
    return advance(oldest, line);
  }

  std::uint64_t most() const { return most_; }

 private:
  struct Stream {
    Line next = ~Line{0} - kSlack * kMostLength;
    std::uint64_t window = 1;
    std::uint64_t used = 0;
  };
  static constexpr std::uint64_t kMostLength = 256;
  // A line that was resident already does not end a stream.
  static constexpr std::uint64_t kSlack = 2;

  std::uint64_t advance(Stream& stream, Line line) {
    stream.next = line + stream.window;
    stream.used = now_;
    return stream.window;
  }

  std::uint64_t most_;
  std::uint64_t now_ = 0;
  std::array<Stream, 48> streams_;  // an allocator fills as many slabs at once as it has classes
};

}  // namespace ckpt::vmheap
