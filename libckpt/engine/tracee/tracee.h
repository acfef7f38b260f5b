// A stopped process. Owns the ptrace attachment of all its threads: constructing stops them, destroying (or
// release()) lets them go as if nothing had happened.
//
// Hard rules:
//  1. Every thread is interrupted before any is waited for, again until no new thread appears, with a
//     deadline; on the deadline (a thread in vfork or uninterruptible sleep) everything is released and Error
//     is thrown. Nobody waits for what does not stop: it is let go when it does (stuck_threads.h).
//  2. An interrupt that surfaces as a signal-delivery stop: the signal is delivered at once (PTRACE_CONT with
//     it), the thread then stops before it runs user code. Nothing is dropped, siginfo included. While
//     registers are borrowed that can only be SIGSTOP, which is sent again after the release.
//  3. orig_rax is -1 during remote calls, all signals are blocked (PTRACE_SETSIGMASK), and registers, mask
//     and interrupted system call are put back before release.
//  4. A thread inside an rseq critical section is moved to its abort address before it makes a remote call.
//     No remote call returns from a signal, and none sleeps but pause(2): others set the restart block that
//     the interrupted call still needs.
//  5. While registers are borrowed the program dies with us (PTRACE_O_EXITKILL); otherwise it survives us.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/remote_addr.h"
#include "base/thread_list.h"
#include "engine/tracee/remote_call.h"

namespace ckpt::engine {

class CallArea;
class Tracee;
struct Stop;

// One stopped thread. `registers` is what release() puts back if `registers_changed` is set.
struct StoppedThread {
  pid_t tid = 0;  // in the supervisor's pid namespace
  user_regs_struct registers{};
  std::uint64_t signal_mask = 0;
  bool registers_changed = false;
  bool group_stopped = false;  // stopped by job control, stays so after release
  bool stopped = false;
  bool borrowed = false;  // a remote call has run in it: mask and registers are put back at release
};

// Threads that stop only when all others stand still, since those may be waiting for them; `before` is called
// in between.
struct StopLast {
  std::vector<pid_t> threads = {};
  std::function<void()> before = nullptr;
};

// When threads cannot be stopped, those that stand still (StoppedThread::stopped) are let go: before that
// their registers are to be put right.
using GivingUp = std::function<void(Tracee&)>;

// A system call to be made by a stopped thread.
struct RemoteCall {
  long number = 0;
  std::array<std::uint64_t, 6> arguments{};
  std::int64_t result = 0;  // the kernel's value, negative errno on failure
};

// Calls that one thread makes in their order.
struct ThreadCalls {
  StoppedThread* thread;
  std::span<RemoteCall> calls;
};

class Tracee {
 public:
  static constexpr std::chrono::milliseconds kStopDeadline{2000};
  static constexpr std::size_t kScratchBytes = std::size_t{64} * 1024;
  static constexpr std::size_t kMappingBytes = std::size_t{128} * 1024;  // of all memory that we map inside

  // Stops all threads of `pid` or throws Error: already traced (names the tracer), not permitted, gone,
  // deadline passed, or whatever `last.before` throws.
  explicit Tracee(pid_t pid, std::chrono::milliseconds deadline = kStopDeadline, const StopLast& last = {},
                  const GivingUp& giving_up = nullptr);
  ~Tracee();
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  pid_t pid() const { return pid_; }
  std::deque<StoppedThread>& threads() { return threads_; }
  const std::deque<StoppedThread>& threads() const { return threads_; }
  StoppedThread& main_thread();
  const ThreadList& thread_list() const { return list_; }

  // Runs one system call in `thread`; returns the kernel's value (negative errno on failure).
  std::int64_t remote_syscall(StoppedThread& thread, long number,
                              std::initializer_list<std::uint64_t> arguments);
  // The same in the main thread.
  std::int64_t remote_syscall(long number, std::initializer_list<std::uint64_t> arguments);

  // Runs all calls, the threads side by side, each thread once in `batch`. Costs little more per thread than
  // one call alone where the program may have executable memory of its own, and else as many single calls.
  void remote_syscalls(std::span<const ThreadCalls> batch);

  // The same in three steps, so that several processes make calls side by side. False if these calls have to
  // be made by remote_syscalls(): nothing has happened then. `batch` stays until end_syscalls().
  bool begin_syscalls(std::span<const ThreadCalls> batch);
  void await_syscalls();  // they have returned, and the threads are asked to stop
  void end_syscalls();

  // Memory inside the process for the arguments of remote calls: mapped at first use, gone at release.
  // scratch_address() is where our only mapping starts, which contains it, 0 if it is not mapped.
  RemoteAddr scratch();
  RemoteAddr scratch_address() const { return scratch_; }

  // Pages of the program's memory (where they begin) that remote calls of the main thread touch, whatever
  // their arguments: where the call is made, and what the kernel writes to as the thread goes on.
  std::vector<RemoteAddr> pages_touched_by_calls();

  void read(RemoteAddr from, std::span<std::byte> out) const;
  void write(RemoteAddr to, std::span<const std::byte> bytes) const;

  // The first steps of scratch() and release(), for several processes side by side.
  void begin_scratch();
  void begin_release();
  void go_on();  // with whichever of them has begun

  void release();           // lets all threads go
  void kill_and_release();  // SIGKILL instead

 private:
  void seize_new_threads(const std::vector<pid_t>& but);
  void interrupt_all();
  void collect(StoppedThread& thread, std::chrono::steady_clock::time_point deadline);
  bool stop_all(std::chrono::steady_clock::time_point deadline, const StopLast& last);
  void stop_threads(std::chrono::steady_clock::time_point deadline, const std::vector<pid_t>& but);
  std::size_t known_threads() const;
  void refuse_32_bit_code() const;

  void leave_rseq_section(StoppedThread& thread);
  void borrow(StoppedThread& thread);
  RemoteAddr syscall_instruction();
  void begin_call(long number, std::initializer_list<std::uint64_t> arguments);
  std::int64_t finish_call();
  void finish_what_has_begun();
  void begin_mapping(int protection);
  void begin_unmapping();
  bool map_scratch(int protection);
  void unmap_scratch();
  void run_in_loop(std::span<const ThreadCalls> batch);
  void run_one_by_one(std::span<const ThreadCalls> batch);
  void start_loops(std::span<const ThreadCalls> batch);
  void start_loop(StoppedThread& thread, RemoteAddr calls, std::size_t count);
  void await_calls(CallArea& area, std::span<const ThreadCalls> batch);
  void interrupt_loop(std::span<const ThreadCalls> batch);
  void leave_loop(std::span<const ThreadCalls> batch);
  void pass_over(const StoppedThread& thread, const Stop& stop);

  void put_back();
  void collect_stopped();
  void give_up(const GivingUp& giving_up) noexcept;
  void abandon() noexcept;
  void detach_all() noexcept;

  pid_t pid_;
  ThreadList list_;
  std::deque<StoppedThread> threads_;  // the main thread first; addresses stay valid
  std::size_t interrupted_ = 0;        // how many of them, from the first on
  RemoteAddr syscall_instruction_{};
  std::optional<CallUnderWay> call_;  // that maps or unmaps the scratch memory, in the main thread
  std::unique_ptr<CallArea> loop_;    // calls under way
  bool loop_interrupted_ = false;
  RemoteAddr scratch_{};        // where our mapping starts
  bool has_call_loop_ = false;  // may be executed
  bool owes_stop_ = false;      // a SIGSTOP that came while registers were borrowed
  bool released_ = false;
};

}  // namespace ckpt::engine
