#include "engine/tracee/tracee.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/proc_stat.h"
#include "engine/tracee/arch/x86_64/code_segment.h"
#include "engine/tracee/call_area.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/stops.h"
#include "engine/tracee/stuck_threads.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kBaseOptions = PTRACE_O_TRACESYSGOOD;
constexpr std::chrono::milliseconds kAbandonPatience{20};

ThreadList open_list(pid_t pid) try { return ThreadList(pid); } catch (const Error&) {
  throw Error(fmt::format("process {} is gone; nothing to checkpoint", pid), ESRCH);
}

// A thread on its last steps cannot be traced any more, nor can it do anything.
bool has_ended(pid_t tid) try {
  std::string status = read_file(fmt::format("/proc/{}/status", tid));
  std::string_view state = status_field(status, "State");
  return state.starts_with('Z') || state.starts_with('X');
} catch (const Error& error) {
  if (error.code() == ENOENT || error.code() == ESRCH) return true;
  throw;
}

// Of a process that is not "dumpable" the files in /proc belong to root (proc(5)).
bool hides_from_own_user(pid_t tid, std::string_view status) {
  std::string_view ids = status_field(status, "Uid");
  auto user = parse_unsigned(ids.substr(0, ids.find_first_of(" \t")));
  struct stat files {};
  return user && *user == ::getuid() && ::stat(fmt::format("/proc/{}/stat", tid).c_str(), &files) == 0 &&
         files.st_uid != *user;
}

// Why PTRACE_SEIZE was refused, for people.
std::string refusal(pid_t tid) {
  std::string status = read_file(fmt::format("/proc/{}/status", tid));
  if (status_field(status, "State").starts_with("Z")) {
    return fmt::format(
        "process {} has lost its main thread while others run; such a process is not supported", tid);
  }
  auto tracer = parse_unsigned(status_field(status, "TracerPid")).value_or(0);
  if (tracer == 0 && hides_from_own_user(tid, status)) {
    return fmt::format(
        "process {} ({}) does not let its own user trace it (it is set-uid or set-gid, or has asked for that "
        "by PR_SET_DUMPABLE); run ckptrun as root, or have the program do without it",
        tid, status_field(status, "Name"));
  }
  if (tracer == 0) {
    return fmt::format(
        "tracing process {} is not permitted (changed user, or a policy of the system); "
        "run ckptrun as the program's user",
        tid);
  }
  std::string name = "gone";
  try {
    name = name_of_process(static_cast<pid_t>(tracer));
  } catch (const Error&) {
    // It has let go.
  }
  return fmt::format("process {} is already traced by process {} ({}); detach that tracer first", tid, tracer,
                     name);
}

[[noreturn]] void refuse_unstoppable(pid_t pid, std::chrono::milliseconds deadline) {
  throw Error(fmt::format("threads of process {} did not stop within {} ms (vfork, or waiting for a device); "
                          "try again later",
                          pid, deadline.count()),
              ETIMEDOUT);
}

// While it lives, the calling thread goes before all ordinary ones, where that is permitted. Threads that are
// let go would otherwise take the processors while others still stand. Nothing may wait meanwhile.
class Hurry {
 public:
  Hurry() : policy_(::sched_getscheduler(0)) {
    sched_param urgent{.sched_priority = 1};
    hurrying_ = policy_ == SCHED_OTHER && ::sched_getparam(0, &before_) == 0 &&
                ::sched_setscheduler(0, SCHED_RR, &urgent) == 0;
  }
  ~Hurry() {
    if (hurrying_) ::sched_setscheduler(0, policy_, &before_);
  }
  Hurry(const Hurry&) = delete;
  Hurry& operator=(const Hurry&) = delete;

 private:
  int policy_;
  sched_param before_{};
  bool hurrying_ = false;
};

}  // namespace

Tracee::Tracee(pid_t pid, std::chrono::milliseconds deadline, const StopLast& last, const GivingUp& giving_up)
    : pid_(pid), list_(open_list(pid)) {
  let_stuck_threads_go();
  if (has_stuck_threads(pid)) refuse_unstoppable(pid, deadline);
  try {
    if (stop_all(Clock::now() + deadline, last)) return;
  } catch (...) {
    give_up(giving_up);
    throw;
  }
  give_up(giving_up);
  refuse_unstoppable(pid, deadline);
}

Tracee::~Tracee() {
  if (released_) return;
  try {
    release();
  } catch (const Error&) {
    // The only way to get here is a program that was killed meanwhile; nothing is left to put back.
    detach_all();
  }
}

StoppedThread& Tracee::main_thread() { return threads_.front(); }

// Being seized does not stop a thread, so that all this is not part of the pause.
void Tracee::seize_new_threads(const std::vector<pid_t>& but) {
  std::unordered_set<pid_t> known;
  for (const StoppedThread& thread : threads_) known.insert(thread.tid);
  for (pid_t tid : list_.ids()) {
    if (known.contains(tid) || std::ranges::count(but, tid) != 0) continue;
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, kBaseOptions) == 0) {
      threads_.push_back({.tid = tid});
    } else if (errno == EPERM) {
      if (tid != pid_ && has_ended(tid)) continue;
      throw Error(refusal(tid), EPERM);
    } else if (errno != ESRCH) {
      throw_errno(fmt::format("trace thread {}", tid));
    }
  }
}

void Tracee::interrupt_all() {
  for (; interrupted_ < threads_.size(); ++interrupted_) {
    pid_t tid = threads_[interrupted_].tid;
    if (::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0 && errno != ESRCH) {
      throw_errno(fmt::format("interrupt thread {}", tid));
    }
  }
}

std::size_t Tracee::known_threads() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(threads_, [](const StoppedThread& thread) { return thread.tid != 0; }));
}

// Waits until `thread` stands still before user code; drops it from consideration (tid 0) if it ended.
void Tracee::collect(StoppedThread& thread, Clock::time_point deadline) {
  for (;;) {
    std::optional<Stop> stop = wait_for_stop(pid_, thread.tid, deadline);
    if (!stop) throw Error("deadline", ETIMEDOUT);
    if (stop->ended) {
      thread.tid = 0;
      return;
    }
    thread.stopped = true;
    if (stop->is_event_stop()) {
      thread.group_stopped = stop->is_group_stop();
      break;
    }
    int signal = stop->signal;
    thread.stopped = false;
    if (::ptrace(PTRACE_CONT, thread.tid, nullptr, signal) != 0 && errno != ESRCH) {
      throw_errno(fmt::format("deliver signal {} to thread {}", signal, thread.tid));
    }
  }
  get_registers(thread.tid, thread.registers);
  if (::ptrace(PTRACE_GETSIGMASK, thread.tid, sizeof(thread.signal_mask), &thread.signal_mask) != 0) {
    throw_errno(fmt::format("read signal mask of thread {}", thread.tid));
  }
}

void Tracee::stop_threads(Clock::time_point deadline, const std::vector<pid_t>& but) {
  for (std::size_t collected = interrupted_;;) {
    seize_new_threads(but);
    if (collected == threads_.size()) return;
    interrupt_all();
    for (; collected < threads_.size(); ++collected) collect(threads_[collected], deadline);
    // Those that stand still make no new ones.
    if (but.empty() && list_.count() == known_threads()) return;
  }
}

void Tracee::refuse_32_bit_code() const {
  for (const StoppedThread& thread : threads_) {
    if (!arch::is_in_32_bit_code(thread.registers)) continue;
    throw Error(
        fmt::format("thread {} of process {} runs 32-bit code, which is not supported; run a 64-bit build",
                    thread.tid, pid_));
  }
}

bool Tracee::stop_all(Clock::time_point deadline, const StopLast& last) {
  try {
    if (!last.threads.empty()) {
      stop_threads(deadline, last.threads);
      if (last.before) last.before();
      deadline = Clock::now() + kStopDeadline;
    }
    stop_threads(deadline, {});
  } catch (const Error& error) {
    if (error.code() == ETIMEDOUT) return false;
    throw;
  }
  std::erase_if(threads_, [](const StoppedThread& thread) { return thread.tid == 0; });
  auto leader = std::ranges::find(threads_, pid_, &StoppedThread::tid);
  if (leader == threads_.end()) {
    const char* cause = threads_.empty()
                            ? "has ended; nothing to checkpoint"
                            : "has lost its main thread while others run; such a process is not supported";
    throw Error(fmt::format("process {} {}", pid_, cause), ESRCH);
  }
  std::iter_swap(threads_.begin(), leader);
  refuse_32_bit_code();
  return true;
}

void Tracee::read(RemoteAddr from, std::span<std::byte> out) const { read_remote(pid_, from, out); }
void Tracee::write(RemoteAddr to, std::span<const std::byte> bytes) const { write_remote(pid_, to, bytes); }

void Tracee::put_back() {
  for (StoppedThread& thread : threads_) {
    if (!thread.stopped) continue;
    if (thread.borrowed || thread.registers_changed) set_registers(thread.tid, thread.registers);
    if (!thread.borrowed) continue;
    set_signal_mask(thread.tid, thread.signal_mask);
  }
}

void Tracee::release() {
  if (released_) return;
  finish_what_has_begun();
  unmap_scratch();
  put_back();
  detach_all();
  if (owes_stop_) ::kill(pid_, SIGSTOP);
}

void Tracee::begin_release() {
  if (released_) return;
  finish_what_has_begun();
  if (scratch_.value != 0) begin_unmapping();
}

void Tracee::go_on() {
  if (call_) call_->enter();
}

void Tracee::kill_and_release() {
  ::kill(pid_, SIGKILL);
  detach_all();
}

// Threads that stand still already, but have not been asked since others did not.
void Tracee::collect_stopped() {
  interrupt_all();
  for (StoppedThread& thread : threads_) {
    if (thread.tid == 0 || thread.stopped) continue;
    try {
      collect(thread, Clock::now());
    } catch (const Error& error) {
      if (error.code() != ETIMEDOUT) throw;
    }
  }
}

// Whatever goes wrong here, the reason for giving up is what the user has to know.
void Tracee::give_up(const GivingUp& giving_up) noexcept {
  try {
    collect_stopped();
    if (giving_up) giving_up(*this);
    put_back();
  } catch (const Error&) {
    // It was killed meanwhile.
  }
  abandon();
}

// Lets go what could not be stopped as a whole. What stands still goes first, because others may wait for it
// (a vfork parent for its child); a thread that is not there yet can only be detached once it stops.
void Tracee::abandon() noexcept {
  for (const StoppedThread& thread : threads_) {
    if (thread.tid != 0 && !thread.stopped) ::ptrace(PTRACE_INTERRUPT, thread.tid, nullptr, nullptr);
  }
  detach_all();
  Clock::time_point deadline = Clock::now() + kAbandonPatience;
  for (const StoppedThread& thread : threads_) {
    if (thread.tid == 0 || thread.stopped) continue;
    leave_stuck(pid_, thread.tid);
  }
  while (has_stuck_threads(pid_) && Clock::now() < deadline) {
    let_stuck_threads_go();
    ::sched_yield();
  }
  if (!has_stuck_threads(pid_)) take_note_of_end(pid_, Clock::now());
}

void Tracee::detach_all() noexcept {
  released_ = true;
  bool killed = false;
  std::vector<pid_t> stopped;
  stopped.reserve(threads_.size());
  {
    std::optional<Hurry> hurry;
    if (threads_.size() > 1) hurry.emplace();
    for (const StoppedThread& thread : threads_) {
      if (thread.tid == 0 || !thread.stopped) continue;
      stopped.push_back(thread.tid);
      if (::ptrace(PTRACE_DETACH, thread.tid, nullptr, 0) != 0) killed = true;
    }
  }
  if (killed) reap_killed(pid_, stopped);
}

}  // namespace ckpt::engine
