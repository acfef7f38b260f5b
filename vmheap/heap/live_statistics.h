// The statistics of a heap that is open for writing, for other processes of the same user to look at: in a
// memfd, found by way of whoever holds the heap's lock (/proc/locks, /proc/PID/fd).
//
//   offset  0  magic
//           8  device, inode of the lock: which heap it is
//          24  sequence: odd while the following is being written
//          32  numbers, in the order of kStatisticsFields
//        3072  Statistics::failure, ends with a zero
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/unique_fd.h"
#include "vmheap/tools.h"

namespace ckpt::vmheap {

// By their names in JSON. Fields are added at the end.
inline constexpr std::pair<const char*, std::uint64_t Statistics::*> kStatisticsFields[] = {
    {"version", &Statistics::version},
    {"size_bytes", &Statistics::size_bytes},
    {"resident_bytes", &Statistics::resident_bytes},
    {"resident_limit_bytes", &Statistics::resident_limit_bytes},
    {"dirty_bytes", &Statistics::dirty_bytes},
    {"uncommitted_bytes", &Statistics::uncommitted_bytes},
    {"missing_faults", &Statistics::missing_faults},
    {"minor_faults", &Statistics::minor_faults},
    {"write_faults", &Statistics::write_faults},
    {"read_ahead_lines", &Statistics::read_ahead_lines},
    {"evictions", &Statistics::evictions},
    {"early_stores", &Statistics::early_stores},
    {"bytes_in", &Statistics::bytes_in},
    {"bytes_out", &Statistics::bytes_out},
    {"commits", &Statistics::commits},
    {"rollbacks", &Statistics::rollbacks},
    {"hits", &Statistics::hits},
};

struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool operator==(const FileIdentity&) const = default;
};

FileIdentity identity_of(int fd);  // throws Error

class LiveStatistics {
 public:
  LiveStatistics();
  ~LiveStatistics();
  LiveStatistics(const LiveStatistics&) = delete;
  LiveStatistics& operator=(const LiveStatistics&) = delete;

  // `numbers` without its failure. Not thread-safe. No malloc.
  void publish(const FileIdentity& heap, const Statistics& numbers, const std::string& failure);

 private:
  UniqueFd fd_;
  std::byte* page_ = nullptr;
};

// Those of the heap whose lock this is; nullopt if nobody has it open for writing, or another user.
std::optional<HeapInUse> find_live_statistics(const FileIdentity& heap);

}  // namespace ckpt::vmheap
