#include "launcher/run_summary.h"

#include <fmt/format.h>

#include <algorithm>

#include "launcher/human_units.h"

namespace ckpt::launcher {

void RunSummary::add(const store::CheckpointStats& stats) {
  if (pauses_us_.size() < kMostPauses) {
    pauses_us_.push_back(stats.frozen_time_us);
  } else {
    pauses_us_[count_ % kMostPauses] = stats.frozen_time_us;
  }
  ++count_;
  ++modes_[stats.mode];
  bytes_written_ += stats.bytes_written;
  longest_us_ = std::max(longest_us_, stats.frozen_time_us);
}

std::string RunSummary::describe() const {
  if (count_ == 0) return "no checkpoint";
  std::vector<std::uint64_t> pauses = pauses_us_;
  auto middle = pauses.begin() + static_cast<std::ptrdiff_t>(pauses.size() / 2);
  std::nth_element(pauses.begin(), middle, pauses.end());
  std::string modes;
  for (const auto& [mode, count] : modes_)
    modes += fmt::format("{}{} {}", modes.empty() ? "" : ", ", mode, count);
  return fmt::format("{} checkpoints ({}), pause {} median, {} longest, {} written", count_, modes,
                     human_microseconds(*middle), human_microseconds(longest_us_),
                     human_bytes(bytes_written_));
}

}  // namespace ckpt::launcher
