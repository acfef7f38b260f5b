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

 private:
  double bytes_per_ns_ = 3;  // this machine's memory is faster; a first guess errs on the safe side
  double other_ns_ = 1'000'000;
};

}  // namespace ckpt::engine
