// Numbered lines on disk and nothing else: for a VM that pages its heap itself, and wants the versions,
// checksums and atomic commits of a store below it. Sets of lines are read, written and erased at once or not
// at all.
//
//   auto lines = Lines::open("vm.lines", {.line_bytes = 8192});
//   lines->write(std::array{Lines::Line{7, seven}, Lines::Line{9, nine}});
//   lines->commit();
//
// What is written is seen by reads of this object at once, by others and after a crash from commit() on. A
// line that was never written, or was erased, is zeroes.
//
// Errors: ckpt::Error, one line. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmheap/heap.h"

namespace ckpt::vmheap {

struct LinesOptions {
  std::uint32_t line_bytes = 4096;            // of new ones: a power of two, 4 KiB to 1 MiB
  std::size_t keep = 3;                       // versions that stay
  std::string name = "lines";                 // in its directory
  bool read_only = false;                     // any number of readers, one writer across processes
  std::optional<std::uint64_t> version = {};  // read-only: which one; default: the newest
};

class Lines {
 public:
  using Number = std::uint64_t;  // (16 TiB / line_bytes) of them

  struct Line {
    Number number = 0;
    std::span<const std::byte> bytes;  // line_bytes() of them
  };

  // Makes them if there are none, unless `read_only`.
  static std::unique_ptr<Lines> open(const std::string& directory, const LinesOptions& options = {});
  ~Lines();  // what is not committed is gone
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;

  std::uint32_t line_bytes() const;
  std::uint64_t version() const;  // committed last, or opened

  // One after the other into `out`, all as they were at one instant. out.size() == lines.size() *
  // line_bytes().
  void read(std::span<const Number> lines, std::span<std::byte> out) const;

  // A set at once: no read sees part of it. After a failure, as after abort(), nothing is left of all that
  // was written or erased since the last commit.
  void write(std::span<const Line> lines);
  void erase(std::span<const Number> lines);
  // Durable when it returns; the number of the new version. 0: nothing was written since the last one.
  std::uint64_t commit();
  void abort();

  std::vector<HeapVersion> versions() const;
  void tag(std::uint64_t version, const std::string& label);
  void untag(const std::string& label);

 private:
  class Parts;
  explicit Lines(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace ckpt::vmheap
