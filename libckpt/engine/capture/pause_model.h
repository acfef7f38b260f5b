// How long a pause is going to be, learned from the pauses before.
#pragma once

#include <chrono>
#include <cstdint>

namespace ckpt::engine {

class PauseModel {
 public:
  // A pause of `total`, of which `copying` went into copying `bytes`.
  void learn(std::chrono::nanoseconds total, std::chrono::nanoseconds copying, std::uint64_t bytes);
  // How much may be left to copy, so that the pause probably stays within `budget`. Never zero: some pages
  // are always left.
  std::uint64_t bytes_within(std::chrono::nanoseconds budget) const;
  std::chrono::nanoseconds copy_time(std::uint64_t bytes) const;

  // It took `taken` to make a snapshot that shares `bytes` with the program: the page tables are copied.
  void learn_snapshot(std::chrono::nanoseconds taken, std::uint64_t bytes);
  std::chrono::nanoseconds snapshot_time(std::uint64_t bytes) const;

 private:
  double bytes_per_ns_ = 3;  // this machine's memory is faster; a first guess errs on the safe side
  double other_ns_ = 1'000'000;
  double snapshot_ns_per_byte_ = 0.01;  // of page tables copied and made read-only
};

}  // namespace ckpt::engine
