#include "engine/tracee/stuck_threads.h"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <vector>

#include "base/error.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

struct StuckThread {
  pid_t pid;
  pid_t tid;
};

// ptrace attaches to a thread of ours, not to our process.
thread_local std::vector<StuckThread> stuck_threads;

void detach(pid_t tid, const Stop& stop) {
  ::ptrace(PTRACE_DETACH, tid, nullptr, stop.is_event_stop() ? 0 : stop.signal);
}

// False if it has not come to its stop.
bool let_go(const StuckThread& thread) try {
  std::optional<Stop> stop = look_for_stop(thread.pid, thread.tid);
  if (!stop) return false;
  if (!stop->ended) detach(thread.tid, *stop);
  return true;
} catch (const Error&) {
  return true;  // nobody of ours any more
}

}  // namespace

void leave_stuck(pid_t pid, pid_t tid) { stuck_threads.push_back({.pid = pid, .tid = tid}); }

bool have_stuck_threads() { return !stuck_threads.empty(); }

bool has_stuck_threads(pid_t pid) {
  return std::ranges::find(stuck_threads, pid, &StuckThread::pid) != stuck_threads.end();
}

void let_stuck_threads_go() noexcept {
  std::vector<pid_t> let_go_of;
  std::erase_if(stuck_threads, [&](const StuckThread& thread) {
    if (!let_go(thread)) return false;
    let_go_of.push_back(thread.pid);
    return true;
  });
  for (pid_t pid : let_go_of) {
    if (!has_stuck_threads(pid)) take_note_of_end(pid, std::chrono::steady_clock::now());
  }
}

bool let_stuck_thread_go(pid_t tid, int status) noexcept {
  if (!WIFSTOPPED(status)) return false;
  auto thread = std::ranges::find(stuck_threads, tid, &StuckThread::tid);
  if (thread == stuck_threads.end()) return false;
  detach(tid, {.signal = WSTOPSIG(status), .event = status >> 16});
  stuck_threads.erase(thread);
  return true;
}

}  // namespace ckpt::engine
