// The process being rebuilt, stopped, and made to do things: single system calls and whole plans.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "base/remote_addr.h"
#include "engine/restore/address_space.h"
#include "engine/restore/plan_builder.h"
#include "engine/restore/restorer_file.h"

namespace ckpt::engine {

class Puppet {
 public:
  // `pid`: as start_new_process left it.
  explicit Puppet(pid_t pid);

  pid_t pid() const { return pid_; }
  const std::vector<pid_t>& threads() const {
    return threads_;
  }  // the main thread first, then in order of creation

  // One system call in the main thread; returns the kernel's value. What this needs is looked up again after
  // forget_syscall_instruction(), because the code that it used may have moved.
  std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments);
  void forget_syscall_instruction() { syscall_instruction_ = {}; }

  // A fork of the process, which has one thread: made by it, traced as it is, stopped before it does
  // anything. `id`: what it is to have, or 0; `room`: memory of the work area.
  Puppet fork(std::int32_t id, int exit_signal, RemoteAddr room);

  // Maps the work area and places the executor in it.
  void place_executor(const WorkArea& area, const RestorerCode& code);

  // Runs `plan` in one thread to its end. New threads that it makes stop at birth and are added to threads().
  // Throws Error naming the operation and errno if one fails.
  void run(const PlanBuilder& plan, pid_t tid);

 private:
  std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments, pid_t* made);
  void wait_for_end_of_plan(const PlanBuilder& plan, pid_t tid);
  void add_new_thread(pid_t creator);
  void check_outcome(const PlanBuilder& plan) const;

  pid_t pid_;
  std::vector<pid_t> threads_;
  user_regs_struct registers_{};  // of the fresh program: segments and flags are right for the executor
  RemoteAddr syscall_instruction_{};
  RemoteAddr entry_{};
  RemoteAddr stack_top_{};
};

}  // namespace ckpt::engine
