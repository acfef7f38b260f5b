// System calls that take or give ids, as the kernel counts their arguments. Read by the agent for those that
// come through syscall(), and by the supervisor for those that a thread of a checkpoint is about to make.
#pragma once

#include <sys/syscall.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace ckpt::agent {

// What stands in an argument.
enum class IdArgument : std::uint8_t {
  kNone,
  kId,
  kTarget,        // as kill() takes it: below -1 a group
  kOfPriority,    // an id if the argument before it is PRIO_PROCESS or PRIO_PGRP
  kOfWaitOrInOut  // ... P_PID or P_PGID; IOPRIO_WHO_PROCESS or IOPRIO_WHO_PGRP, which are the same numbers
};

struct IdCall {
  long number;
  IdArgument first = IdArgument::kNone;
  IdArgument second = IdArgument::kNone;
  bool gives_id = false;
};

inline constexpr std::array<IdCall, 37> kIdCalls{{
    {SYS_getpid, IdArgument::kNone, IdArgument::kNone, true},
    {SYS_getppid, IdArgument::kNone, IdArgument::kNone, true},
    {SYS_gettid, IdArgument::kNone, IdArgument::kNone, true},
    {SYS_getpgrp, IdArgument::kNone, IdArgument::kNone, true},
    {SYS_setsid, IdArgument::kNone, IdArgument::kNone, true},
    {SYS_getpgid, IdArgument::kId, IdArgument::kNone, true},
    {SYS_getsid, IdArgument::kId, IdArgument::kNone, true},
    {SYS_setpgid, IdArgument::kId, IdArgument::kId},
    {SYS_kill, IdArgument::kTarget},
    {SYS_tkill, IdArgument::kId},
    {SYS_tgkill, IdArgument::kId, IdArgument::kId},
    {SYS_rt_sigqueueinfo, IdArgument::kId},
    {SYS_rt_tgsigqueueinfo, IdArgument::kId, IdArgument::kId},
    {SYS_wait4, IdArgument::kTarget, IdArgument::kNone, true},
    {SYS_waitid, IdArgument::kNone, IdArgument::kOfWaitOrInOut},
    {SYS_sched_setparam, IdArgument::kId},
    {SYS_sched_getparam, IdArgument::kId},
    {SYS_sched_setscheduler, IdArgument::kId},
    {SYS_sched_getscheduler, IdArgument::kId},
    {SYS_sched_rr_get_interval, IdArgument::kId},
    {SYS_sched_setaffinity, IdArgument::kId},
    {SYS_sched_getaffinity, IdArgument::kId},
    {SYS_sched_setattr, IdArgument::kId},
    {SYS_sched_getattr, IdArgument::kId},
    {SYS_prlimit64, IdArgument::kId},
    {SYS_pidfd_open, IdArgument::kId},
    {SYS_process_vm_readv, IdArgument::kId},
    {SYS_process_vm_writev, IdArgument::kId},
    {SYS_kcmp, IdArgument::kId, IdArgument::kId},
    {SYS_getpriority, IdArgument::kNone, IdArgument::kOfPriority},
    {SYS_setpriority, IdArgument::kNone, IdArgument::kOfPriority},
    {SYS_ioprio_get, IdArgument::kNone, IdArgument::kOfWaitOrInOut},
    {SYS_ioprio_set, IdArgument::kNone, IdArgument::kOfWaitOrInOut},
    {SYS_ptrace, IdArgument::kNone, IdArgument::kId},
    {SYS_move_pages, IdArgument::kId},
    {SYS_migrate_pages, IdArgument::kId},
    {SYS_get_robust_list, IdArgument::kId},
}};

constexpr const IdCall* find_id_call(long number) {
  for (const IdCall& call : kIdCalls) {
    if (call.number == number) return &call;
  }
  return nullptr;
}

// `value` of an argument, which comes after `before`, with its id changed by `change`.
template <typename Change>
long change_id(IdArgument kind, long before, long value, const Change& change) {
  auto id = static_cast<std::int32_t>(value);
  auto which = static_cast<std::int32_t>(before);
  bool names_one = which == 1 || which == (kind == IdArgument::kOfPriority ? 0 : 2);
  switch (kind) {
    case IdArgument::kNone:
      return value;
    case IdArgument::kTarget:
      return id < -1 && id != INT32_MIN ? -change(-id) : change(id);
    case IdArgument::kId:
      return change(id);
    default:
      return names_one ? change(id) : value;
  }
}

}  // namespace ckpt::agent
