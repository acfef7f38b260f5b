// A full copy of the memory of a stopped program, taken with nothing but /proc, and independently of how
// checkpoints are taken.
//
// Hard rule: it changes nothing. Of private memory it reads only pages that /proc/PID/pagemap says are there,
// because reading another one would put a page in its place; what is not there is zero, or the file's. Unless
// memory may be missing that comes when it is read.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "engine/capture/memory_map.h"

namespace ckpt::fuzz {

inline constexpr std::size_t kPageBytes = 4096;
using PageBytes = std::span<const std::byte, kPageBytes>;

class Snapshot {
 public:
  enum class Missing { kNone, kComes };
  explicit Snapshot(pid_t pid, Missing missing = Missing::kNone);

  const std::vector<engine::MapEntry>& mappings() const { return mappings_; }
  // Pages by their address, ascending: of private mappings those that are the program's own, of shared
  // mappings all that can be read.
  struct Page {
    std::uint64_t address;
    std::size_t place;
  };
  const std::vector<Page>& pages() const { return pages_; }
  PageBytes bytes(const Page& page) const { return PageBytes(memory_.data() + page.place, kPageBytes); }
  const std::vector<std::uint64_t>& guards() const { return guards_; }  // addresses of guard pages
  // Pages that may be missing, and that nobody can bring: the program may not read there.
  bool is_unknown(std::uint64_t address) const { return std::ranges::binary_search(unknown_, address); }

 private:
  void copy_mapping(const engine::MapEntry& entry, int pagemap, int mem);
  void copy_page(std::uint64_t address, int mem);
  void copy_missing(std::uint64_t address);

  pid_t pid_;
  Missing missing_;
  std::vector<engine::MapEntry> mappings_;
  std::vector<Page> pages_;
  std::vector<std::uint64_t> guards_, unknown_;
  std::vector<std::byte> memory_;
};

// True if mappings with that name have no content that belongs to the program.
bool is_made_by_kernel(const engine::MapEntry& entry);

}  // namespace ckpt::fuzz
