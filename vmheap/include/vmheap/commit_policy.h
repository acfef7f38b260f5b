// When to commit, for a VM that comes by safe points: places where its heap makes sense and where a commit
// may be.
//
//   CommitPolicy policy(*heap, {.elapsed = 10s, .dirty_bytes = 64 << 20, .after_collection = true});
//   for (;;) {
//     interpret_some();
//     policy.safe_point();
//   }
//
// Commits run in the background. One that failed is thrown by the next call, and tried again when the policy
// says so. A safe point at which nothing is due costs a clock read. For one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>

#include "vmheap/heap.h"

namespace ckpt::vmheap {

// Each holds by itself; without any nothing is ever committed. Nothing is committed while nothing has
// changed.
struct CommitRules {
  std::chrono::nanoseconds elapsed{0};  // since the last commit began; 0: no matter
  std::uint64_t dirty_bytes = 0;        // so much has changed; 0: no matter
  bool after_collection = false;        // when the VM has collected garbage, and little is left to be written
  bool when_idle = false;               // when the VM has nothing else to do
};

class CommitPolicy {
 public:
  // `heap` must outlive this.
  CommitPolicy(Heap& heap, const CommitRules& rules);

  // Each returns whether a commit was begun.
  bool safe_point();
  bool collected();  // at a safe point
  bool idle();       // at a safe point

 private:
  using Clock = std::chrono::steady_clock;
  bool commit_if(bool due);

  Heap& heap_;
  CommitRules rules_;
  Clock::time_point last_commit_;
  Clock::time_point last_look_;  // at what has changed
};

}  // namespace ckpt::vmheap
