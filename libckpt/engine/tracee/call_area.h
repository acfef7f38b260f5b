// What the loop of arch/x86_64/call_loop.h is given: its code and the calls of several threads behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tracee/arch/x86_64/call_loop.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

class CallArea {
 public:
  static constexpr std::size_t kBytes = std::size_t{64} * 1024;
  static constexpr std::size_t kCallsOffset = 256;  // room for the code
  static constexpr std::size_t kMostCalls = (kBytes - kCallsOffset) / sizeof(arch::LoopCall);

  // `batch` is referred to, and has at most kMostCalls calls.
  explicit CallArea(std::span<const ThreadCalls> batch);

  std::span<const ThreadCalls> batch() const { return batch_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::span<std::byte> calls() { return std::span(bytes_).subspan(kCallsOffset); }

  // Of what calls() contains, read back from the program: whether the last call of every thread has
  // returned; and their results into `batch`.
  bool is_complete() const;
  void hand_out_results() const;

 private:
  arch::LoopCall at(std::size_t index) const;

  std::span<const ThreadCalls> batch_;
  std::vector<std::byte> bytes_;
};

}  // namespace ckpt::engine
