// A stopped process. Owns the ptrace attachment of all its threads: constructing stops them, destroying (or release())
// lets them go as if nothing had happened.
//
// Hard rules:
//  1. Every thread is interrupted before any is waited for, again until no new thread appears, with a deadline; on the
//     deadline (a thread in vfork or uninterruptible sleep) everything is released and Error is thrown.
//  2. An interrupt that surfaces as a signal-delivery stop: the signal is passed on at release with its siginfo.
//  3. orig_rax is -1 during remote calls, all signals are blocked (PTRACE_SETSIGMASK), and registers, mask and
//     interrupted system call are put back before release.
//  4. No remote call in a thread inside an rseq critical section; none that sleeps or returns from a signal.
//  5. While registers are borrowed the program dies with us (PTRACE_O_EXITKILL); otherwise it survives us.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "base/remote_addr.h"

namespace ckpt::engine {

// One stopped thread, as found.
struct StoppedThread {
  pid_t tid = 0;                 // in the supervisor's pid namespace
  user_regs_struct registers{};  // when stopped; what release() puts back (fix-ups of interrupted calls included)
  std::uint64_t signal_mask = 0;
  int delivery_signal = 0;       // the stop was the delivery of this signal, 0 if none
  siginfo_t delivery_info{};
  bool group_stopped = false;    // the program is stopped by job control
  bool registers_changed = false;
  bool dead = false;             // went away while we looked
};

class Tracee {
 public:
  // Stops all threads of `pid` or throws Error: already traced (names the tracer), not permitted, gone, deadline passed.
  explicit Tracee(pid_t pid, std::chrono::milliseconds deadline = std::chrono::milliseconds(2000));
  ~Tracee();
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  pid_t pid() const { return pid_; }
  std::span<StoppedThread> threads() { return threads_; }
  StoppedThread& main_thread();

  // Runs one system call in `thread`; returns the kernel's value (negative errno on failure).
  std::int64_t remote_syscall(StoppedThread& thread, long number, std::initializer_list<std::uint64_t> arguments);
  // The same in any thread that may make remote calls.
  std::int64_t remote_syscall(long number, std::initializer_list<std::uint64_t> arguments);

  // Scratch memory inside the process for the arguments of remote calls: mapped at first use, gone at release.
  RemoteAddr scratch();
  static constexpr std::size_t kScratchBytes = 64 * 1024;

  void read(RemoteAddr from, std::span<std::byte> out) const;
  void write(RemoteAddr to, std::span<const std::byte> bytes) const;

  void release();           // lets all threads go
  void kill_and_release();  // SIGKILL instead

 private:
  struct Pause;
  void stop_all(std::chrono::milliseconds deadline);
  void set_exit_kill(bool on);

  pid_t pid_;
  std::vector<StoppedThread> threads_;
  RemoteAddr syscall_instruction_{};
  RemoteAddr scratch_{};
  bool released_ = false;
};

}  // namespace ckpt::engine
