// The frame of targets whose threads change memory all the time under an invariant, which is checked all the
// time: "ready", then "count N" after every check, and when the go file exists a last check and "ok". A check
// that fails ends the program at once with status 1: what it then holds is what there is to look at.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "target.h"

constexpr std::size_t kTargetPageBytes = 4096;

class TargetRandom {
 public:
  explicit TargetRandom(std::uint64_t seed) : state_(seed * 2 + 1) {}
  std::uint64_t next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return state_ >> 31;
  }
  std::uint64_t below(std::uint64_t end) { return next() % end; }

 private:
  std::uint64_t state_;
};

inline std::uint64_t target_mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = (a ^ (b * 0xc2b2ae3d27d4eb4fU)) * 0x9e3779b97f4a7c15U;
  return x ^ (x >> 29);
}

[[noreturn, gnu::format(printf, 1, 2)]] inline void target_violated(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  std::printf("\n");
  va_end(arguments);
  std::fflush(stdout);
  ::_exit(1);
}

// Runs `change(thread, random)` in `threads` threads and `check()` in the main thread until the go file
// exists.
inline int change_all_the_time(const char* go_file, unsigned threads,
                               const std::function<void(unsigned, TargetRandom&)>& change,
                               const std::function<void()>& check) {
  constexpr unsigned kChangesInARow = 200;
  std::atomic<bool> ended = false;
  std::vector<std::thread> changers;
  for (unsigned thread = 0; thread < threads; ++thread) {
    changers.emplace_back([&, thread] {
      TargetRandom random(thread + 1);
      while (!ended) {
        for (unsigned i = 0; i < kChangesInARow; ++i) change(thread, random);
        target_sleep_ms(1);  // others want to run too
      }
    });
  }
  target_ready();
  for (unsigned long round = 0; !target_told_to_go(go_file); ++round) {
    check();
    std::printf("count %lu\n", round);
    std::fflush(stdout);
    target_sleep_ms(10);
  }
  ended = true;
  for (std::thread& changer : changers) changer.join();
  check();
  return target_finish();
}
