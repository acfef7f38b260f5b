// Paths of files that the kernel tells only by filesystem and inode number, such as those watched by inotify.
//
// With CAP_DAC_READ_SEARCH the kernel's own file handle leads to them. Without it they are looked for: where
// they were last time, where the program is and what it has open, and then, for a limited number of names, in
// the directories below. Every path is checked to lead to that very inode before it is returned.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ckpt::engine::resource {

// From the kernel's own form of device numbers: 12 bits, then 20.
dev_t parse_device(std::uint64_t number);

struct InodeName {
  dev_t device = 0;
  std::uint64_t inode = 0;
  int handle_type = 0;  // name_to_handle_at(2)
  std::vector<std::byte> handle = {};

  bool operator==(const InodeName&) const = default;
};

// The paths of `wanted`, in its order; empty where none was found. `hints` are paths to look at first.
std::vector<std::string> find_paths(std::span<const InodeName> wanted, std::span<const std::string> hints);

}  // namespace ckpt::engine::resource
