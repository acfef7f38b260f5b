// Reads pages of another process, stopped or running.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "engine/capture/address_ranges.h"

namespace ckpt::engine {

class MemoryReader {
 public:
  explicit MemoryReader(pid_t pid);
  pid_t pid() const { return pid_; }

  // The first pages of `range`, as many as can be read at once, up to out.size(). 0 if the first one cannot
  // be read: nothing is mapped there, or it lies behind the end of its file. Memory that the access bits
  // forbid is read all the same. Throws Error if the process is gone.
  std::size_t read(AddressRange range, std::span<std::byte> out);

  // All of `ranges`, one after the other; out.size() is their sum. False if any page cannot be read this way
  // (then `out` is undefined); at most kMostRanges. Thread-safe.
  static constexpr std::size_t kMostRanges = 1024;
  bool read_scattered(std::span<const AddressRange> ranges, std::span<std::byte> out) const;

 private:
  pid_t pid_;
  UniqueFd mem_;  // opened when it is needed
};

}  // namespace ckpt::engine
