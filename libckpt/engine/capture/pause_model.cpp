#include "engine/capture/pause_model.h"

#include <algorithm>
#include <cmath>

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kLeastBytes = 256 << 10;
constexpr std::uint64_t kTellingBytes = 1 << 20;  // copies smaller than this say little about the speed
constexpr std::chrono::nanoseconds kSnapshotFixed = std::chrono::microseconds(300);  // however small
constexpr double kWeight = 0.3;                                                      // of the newest pause
constexpr double kUsableShare = 0.8;  // of the budget: pauses vary

void move_towards(double& value, double sample) { value += kWeight * (sample - value); }

}  // namespace

void PauseModel::learn(std::chrono::nanoseconds total, std::chrono::nanoseconds copying,
                       std::uint64_t bytes) {
  move_towards(other_ns_, static_cast<double>((total - copying).count()));
  if (bytes < kTellingBytes || copying.count() <= 0) return;
  move_towards(bytes_per_ns_, static_cast<double>(bytes) / static_cast<double>(copying.count()));
}

std::uint64_t PauseModel::bytes_within(std::chrono::nanoseconds budget) const {
  double left_ns = static_cast<double>(budget.count()) * kUsableShare - other_ns_;
  return std::max(kLeastBytes, static_cast<std::uint64_t>(std::max(0.0, left_ns * bytes_per_ns_)));
}

std::chrono::nanoseconds PauseModel::copy_time(std::uint64_t bytes) const {
  return std::chrono::nanoseconds(std::llround(static_cast<double>(bytes) / bytes_per_ns_));
}

void PauseModel::learn_snapshot(std::chrono::nanoseconds taken, std::uint64_t bytes) {
  if (bytes < kTellingBytes) return;
  move_towards(snapshot_ns_per_byte_, static_cast<double>(taken.count()) / static_cast<double>(bytes));
}

std::chrono::nanoseconds PauseModel::snapshot_time(std::uint64_t bytes) const {
  return kSnapshotFixed +
         std::chrono::nanoseconds(std::llround(static_cast<double>(bytes) * snapshot_ns_per_byte_));
}

}  // namespace ckpt::engine
