#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace ckpt::bench {

inline constexpr std::uint64_t kMib = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kGib = std::uint64_t{1} << 30;

struct Settings {
  std::string binaries;   // directory of ckptrun
  std::string programs;   // directory of the programs that are measured
  std::string directory;  // for store and files, made anew and removed; on the disk that is to be measured
  unsigned runs = 5;
  unsigned checkpoints = 100;  // in each run
  unsigned pairs = 20;         // with and without, where a slowdown is measured
  std::chrono::nanoseconds interval{};
  double work_seconds = 4;                   // of each half of a pair
  std::vector<std::string> ckptrun_options;  // for every ckptrun that runs or resumes something
  bool cold = false;                         // drop the segments from the page cache before each resume
};

}  // namespace ckpt::bench
