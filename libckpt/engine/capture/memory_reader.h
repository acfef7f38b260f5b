// Reads pages of another process, stopped or running.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "engine/capture/address_ranges.h"

namespace ckpt::engine {

// Whether pages may be in common with another process since a fork (copy on write). They are to stay so:
// process_vm_readv(2) pins what it reads, and since Linux 6.0 a page that is pinned is made the process's own
// first, by a copy. /proc/PID/mem does not, but takes twice as long for all others.
enum class PagesInCommon { kNone, kPossible };

class MemoryReader {
 public:
  explicit MemoryReader(pid_t pid, PagesInCommon in_common = PagesInCommon::kNone);
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
  bool any_in_common(std::span<const AddressRange> ranges) const;
  bool read_each(std::span<const AddressRange> ranges, std::span<std::byte> out) const;

  pid_t pid_;
  UniqueFd mem_;      // opened when it is needed, or if pages may be in common
  UniqueFd pagemap_;  // if pages may be in common
};

}  // namespace ckpt::engine
