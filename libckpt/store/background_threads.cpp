#include "store/background_threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "store/system_calls.h"

namespace ckpt::store {
namespace {

// linux/ioprio.h: class in the upper three bits.
constexpr int kNoIoPriority = 0;  // follows the nice value
constexpr int kBestEffort = 2 << 13;
constexpr int kLowestLevel = 7;

// A refusal (a sandbox without these calls) costs the program some time, never the checkpoint.
void set_priority(pid_t thread, int policy, int io_priority) {
  sched_param none{};
  system_calls().sched_setscheduler(thread, policy, &none);
  system_calls().ioprio_set(thread, io_priority);
}

// Blocks all signals of the calling thread; those that it starts meanwhile inherit that.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~AllSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

void BackgroundPriority::enter() {
  std::lock_guard lock(mutex_);
  threads_.insert(::gettid());
  if (!hurried_) set_priority(::gettid(), SCHED_BATCH, kBestEffort | kLowestLevel);
}

void BackgroundPriority::leave() {
  std::lock_guard lock(mutex_);
  threads_.erase(::gettid());
}

void BackgroundPriority::hurry() {
  std::lock_guard lock(mutex_);
  if (hurried_.exchange(true)) return;
  for (pid_t thread : threads_) set_priority(thread, SCHED_OTHER, kNoIoPriority);
}

std::thread start_background_thread(BackgroundPriority& priority, std::function<void()> work) {
  AllSignalsBlocked blocked;
  return std::thread([&priority, work = std::move(work)] {
    priority.enter();
    work();
    priority.leave();
  });
}

}  // namespace ckpt::store
