// What the checkpoints of one run came to, for the line at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::launcher {

class RunSummary {
 public:
  void add(const store::CheckpointStats& stats);
  std::uint64_t count() const { return count_; }
  // "12 checkpoints (copy 11, precopy 1), pause 1.2 ms median, 8 ms longest, 40 MiB written"
  std::string describe() const;

 private:
  static constexpr std::size_t kMostPauses = 4096;  // of the newest: a long run does not grow us

  std::uint64_t count_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::uint64_t longest_us_ = 0;
  std::vector<std::uint64_t> pauses_us_;
  std::map<std::string, std::uint64_t> modes_;
};

}  // namespace ckpt::launcher
