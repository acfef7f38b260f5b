#include "vmheap/commit_policy.h"

namespace ckpt::vmheap {
namespace {

// Finding out what has changed takes the pager's lock.
constexpr std::chrono::milliseconds kBetweenLooks{1};

}  // namespace

CommitPolicy::CommitPolicy(Heap& heap, const CommitRules& rules)
    : heap_(heap), rules_(rules), last_commit_(Clock::now()), last_look_(last_commit_) {}

bool CommitPolicy::safe_point() {
  Clock::time_point now = Clock::now();
  bool late = rules_.elapsed.count() > 0 && now - last_commit_ >= rules_.elapsed;
  if ((!late && rules_.dirty_bytes == 0) || now - last_look_ < kBetweenLooks) return false;
  last_look_ = now;
  return commit_if(late || heap_.statistics().uncommitted_bytes >= rules_.dirty_bytes);
}

bool CommitPolicy::collected() { return commit_if(rules_.after_collection); }
bool CommitPolicy::idle() { return commit_if(rules_.when_idle); }

bool CommitPolicy::commit_if(bool due) {
  if (!due || heap_.committing()) return false;
  heap_.wait_for_commit();  // the one before, if it failed, is heard of here
  if (heap_.statistics().uncommitted_bytes == 0) return false;
  last_commit_ = Clock::now();
  heap_.commit_in_background();
  return true;
}

}  // namespace ckpt::vmheap
