#include "engine/tracee/tracee.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/tracee/arch/x86_64/syscall_instruction.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/rseq_section.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kBaseOptions = PTRACE_O_TRACESYSGOOD;
constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
constexpr std::chrono::seconds kAbandonDeadline{60};

std::vector<pid_t> list_threads(pid_t pid) {
  std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(fmt::format("/proc/{}/task", pid).c_str()),
                                                ::closedir);
  if (!directory) throw Error(fmt::format("process {} is gone; nothing to checkpoint", pid), ESRCH);
  std::vector<pid_t> threads;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (auto tid = parse_unsigned(entry->d_name)) threads.push_back(static_cast<pid_t>(*tid));
  }
  return threads;
}

// Why PTRACE_SEIZE was refused, for people.
std::string refusal(pid_t tid) {
  std::string status = read_file(fmt::format("/proc/{}/status", tid));
  if (status_field(status, "State").starts_with("Z")) {
    return fmt::format(
        "process {} has lost its main thread while others run; such a process is not supported", tid);
  }
  auto tracer = parse_unsigned(status_field(status, "TracerPid")).value_or(0);
  if (tracer == 0) {
    return fmt::format(
        "tracing process {} is not permitted (changed user, or a policy of the system); "
        "run ckptrun as the program's user",
        tid);
  }
  std::string name = "gone";
  std::error_code gone;
  if (std::filesystem::exists(fmt::format("/proc/{}/comm", tracer), gone)) {
    name = read_file(fmt::format("/proc/{}/comm", tracer));
    std::erase(name, '\n');
  }
  return fmt::format("process {} is already traced by process {} ({}); detach that tracer first", tid, tracer,
                     name);
}

void set_signal_mask(pid_t tid, std::uint64_t mask) {
  if (::ptrace(PTRACE_SETSIGMASK, tid, sizeof(mask), &mask) != 0) {
    throw_errno(fmt::format("write signal mask of thread {}", tid));
  }
}

}  // namespace

Tracee::Tracee(pid_t pid, std::chrono::milliseconds deadline) : pid_(pid) {
  try {
    if (stop_all(Clock::now() + deadline)) return;
  } catch (...) {
    abandon();
    throw;
  }
  abandon();
  throw Error(fmt::format("threads of process {} did not stop within {} ms (vfork, or waiting for a device); "
                          "try again later",
                          pid, deadline.count()),
              ETIMEDOUT);
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

void Tracee::seize(pid_t tid) {
  if (::ptrace(PTRACE_SEIZE, tid, nullptr, kBaseOptions) != 0) {
    if (errno == ESRCH) return;
    if (errno == EPERM) throw Error(refusal(tid), EPERM);
    throw_errno(fmt::format("trace thread {}", tid));
  }
  threads_.push_back({.tid = tid});
  if (::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0 && errno != ESRCH) {
    throw_errno(fmt::format("interrupt thread {}", tid));
  }
}

void Tracee::seize_new_threads() {
  for (pid_t tid : list_threads(pid_)) {
    if (std::ranges::none_of(threads_, [tid](const StoppedThread& known) { return known.tid == tid; }))
      seize(tid);
  }
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

bool Tracee::stop_all(Clock::time_point deadline) {
  std::size_t collected = 0;
  try {
    for (;;) {
      seize_new_threads();
      if (collected == threads_.size()) break;
      for (; collected < threads_.size(); ++collected) collect(threads_[collected], deadline);
    }
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
  return true;
}

// A thread inside a restartable sequence is first sent to its abort address, as the kernel would do for any
// other interruption: running a remote call there would make the kernel forget the abort.
void Tracee::leave_rseq_section(StoppedThread& thread) {
  std::optional<RseqSection> section = rseq_section_of(pid_, thread.tid, thread.registers.rip);
  if (!section) return;
  constexpr std::uint64_t kNone = 0;
  write(section->pointer, std::as_bytes(std::span(&kNone, 1)));
  thread.registers.rip = section->abort.value;
  thread.registers_changed = true;
}

void Tracee::borrow(StoppedThread& thread) {
  if (thread.borrowed) return;
  leave_rseq_section(thread);
  if (::ptrace(PTRACE_SETOPTIONS, thread.tid, nullptr, kBaseOptions | PTRACE_O_EXITKILL) != 0) {
    throw_errno(fmt::format("set trace options of thread {}", thread.tid));
  }
  set_signal_mask(thread.tid, kAllSignals);
  thread.borrowed = true;
}

std::int64_t Tracee::remote_syscall(StoppedThread& thread, long number,
                                    std::initializer_list<std::uint64_t> arguments) {
  if (syscall_instruction_.value == 0) syscall_instruction_ = arch::find_syscall_instruction(pid_);
  borrow(thread);
  return run_syscall(pid_, thread.tid,
                     arch::registers_for_call(thread.registers, syscall_instruction_, number, arguments));
}

std::int64_t Tracee::remote_syscall(long number, std::initializer_list<std::uint64_t> arguments) {
  return remote_syscall(main_thread(), number, arguments);
}

RemoteAddr Tracee::scratch() {
  if (scratch_.value == 0) {
    std::int64_t address =
        // Shared, so that it never merges with a neighbour of the program's.
        remote_syscall(SYS_mmap,
                       {0, kScratchBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, ~0ULL, 0});
    if (address < 0 && address > -4096) {
      throw_errno(fmt::format("map scratch memory in process {}", pid_), static_cast<int>(-address));
    }
    scratch_ = RemoteAddr{static_cast<std::uint64_t>(address)};
  }
  return scratch_;
}

void Tracee::read(RemoteAddr from, std::span<std::byte> out) const { read_remote(pid_, from, out); }
void Tracee::write(RemoteAddr to, std::span<const std::byte> bytes) const { write_remote(pid_, to, bytes); }

void Tracee::release() {
  if (released_) return;
  if (scratch_.value != 0) {
    remote_syscall(SYS_munmap, {scratch_.value, kScratchBytes});
    scratch_ = {};
  }
  for (StoppedThread& thread : threads_) {
    if (thread.borrowed || thread.registers_changed) set_registers(thread.tid, thread.registers);
    if (!thread.borrowed) continue;
    set_signal_mask(thread.tid, thread.signal_mask);
  }
  detach_all();
}

void Tracee::kill_and_release() {
  ::kill(pid_, SIGKILL);
  detach_all();
}

// Lets go what could not be stopped as a whole. What stands still goes first, because others may wait for it
// (a vfork parent for its child); a thread that is not there yet can only be detached once it stops.
void Tracee::abandon() noexcept {
  detach_all();
  Clock::time_point deadline = Clock::now() + kAbandonDeadline;
  for (const StoppedThread& thread : threads_) {
    if (thread.tid == 0 || thread.stopped) continue;
    std::optional<Stop> stop = wait_for_stop(pid_, thread.tid, deadline);
    if (!stop || stop->ended) continue;
    ::ptrace(PTRACE_DETACH, thread.tid, nullptr, stop->is_event_stop() ? 0 : stop->signal);
  }
}

void Tracee::detach_all() noexcept {
  bool killed = false;
  for (const StoppedThread& thread : threads_) {
    if (thread.tid != 0 && thread.stopped && ::ptrace(PTRACE_DETACH, thread.tid, nullptr, 0) != 0)
      killed = true;
  }
  released_ = true;
  if (killed) reap_dying_threads();
}

// Stopped threads that cannot be detached were killed. Until their tracer has reaped them, the program's
// parent does not learn that it has ended.
void Tracee::reap_dying_threads() noexcept {
  try {
    Clock::time_point deadline = Clock::now() + kAbandonDeadline;
    for (const StoppedThread& thread : threads_) {
      if (thread.tid == 0 || thread.tid == pid_ || !thread.stopped) continue;
      std::optional<Stop> stop = wait_for_stop(pid_, thread.tid, deadline);
      if (stop && !stop->ended) ::ptrace(PTRACE_DETACH, thread.tid, nullptr, 0);
    }
  } catch (const Error&) {
    return;  // no such child any more
  }
}

}  // namespace ckpt::engine
