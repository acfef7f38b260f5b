// When the memory of a program has come near its limit, and how much of it has to go.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

namespace ckpt::launcher {

class MemoryLimit {
 public:
  using Clock = std::chrono::steady_clock;

  explicit MemoryLimit(std::uint64_t limit_bytes) : limit_(limit_bytes) {}

  Clock::time_point next_look() const { return next_look_; }
  // Whether something has to go. The nearer it is to the limit, the sooner the next look.
  bool look(std::uint64_t resident_bytes, Clock::time_point now);
  // Too near to it for the program to go on while a checkpoint is made.
  bool is_near(std::uint64_t resident_bytes) const { return resident_bytes > limit_ / 2; }
  // Beyond what there is to be afterwards.
  std::uint64_t excess(std::uint64_t resident_bytes) const;
  // After something went: whether that was enough. If not, and nothing can be done about it, the next look is
  // later.
  bool has_room(std::uint64_t resident_bytes, Clock::time_point now);

 private:
  // The program goes on between two looks: room for what it may use in that time.
  std::uint64_t high() const { return limit_ - std::max(limit_ / 8, std::min(limit_ / 4, kRoom)); }
  std::uint64_t low() const { return limit_ - limit_ / 8 * 3; }

  static constexpr std::uint64_t kRoom = 16U << 20;
  std::uint64_t limit_;
  Clock::time_point next_look_{};
};

// "256M", "4G", "65536K", or bytes; "none" is 0. Throws Error, also where it is too little to run in.
std::uint64_t parse_heap_resident(const std::string& text);

// --heap-size: how much private memory the program may ask for, a limit of its own (RLIMIT_DATA) as on a
// machine that has no more. Throws Error, also where the limits of this process are lower.
std::uint64_t parse_heap_size(const std::string& text);

}  // namespace ckpt::launcher
