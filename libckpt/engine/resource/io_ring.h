#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kIoRing;

// Index in process.descriptions of the io_uring with this inode, or -1.
std::int32_t find_ring(const image::ProcessT& process, std::uint64_t inode);

// What fdinfo tells of an io_uring (io_uring_show_fdinfo of the kernel).
struct RingInfo {
  std::uint32_t entries = 0;
  std::uint32_t completion_entries = 0;
  std::uint32_t submitted = 0;  // taken by the kernel, ever, modulo 2^32
  std::uint32_t completed = 0;
  bool has_thread = false;    // IORING_SETUP_SQPOLL
  bool has_requests = false;  // polls or the like under way, or completions that found no room
  std::vector<std::pair<std::uint32_t, std::string>> files;  // registered: slot and path
  std::uint32_t file_slots = 0;
  std::vector<image::MemoryRangeT> buffers;  // registered; no length: an empty slot
};

RingInfo parse_ring_info(std::string_view info, const std::string& what);

}  // namespace ckpt::engine::resource
