// Functions that take or give ids of processes, threads, groups and sessions, and do not wait. See intent.h
// for the rules.
//
// Those that a handler may call, or a child between fork and exec, go straight to the kernel: dlsym() could
// wait there for a lock.
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "agent/arch/x86_64/raw_syscall.h"
#include "agent/ids.h"
#include "agent/next_function.h"
#include "agent/public.h"

namespace {

using ckpt::agent::ask_for_id;
using ckpt::agent::ids_differ;
using ckpt::agent::kernel_id;
using ckpt::agent::kernel_target;
using ckpt::agent::next_function;
using ckpt::agent::seen_id;

// As libc returns it.
int call(long number, long first, long second = 0, long third = 0) {
  long result = ckpt::agent::raw_syscall(number, first, second, third, 0, 0, 0);
  if (result >= 0) return static_cast<int>(result);
  errno = static_cast<int>(-result);
  return -1;
}

pid_t ask(long number) {
  return ask_for_id([=] { return call(number, 0); });
}

pid_t ask_about(long number, pid_t id) {
  return ask_for_id([=] { return call(number, kernel_id(id)); });
}

pid_t ask_terminal(int terminal, unsigned long request) {
  return ask_for_id([=] {
    pid_t id = 0;
    int result = call(SYS_ioctl, terminal, static_cast<long>(request), reinterpret_cast<long>(&id));
    return result < 0 ? result : id;
  });
}

}  // namespace

CKPT_PUBLIC pid_t getpid() noexcept { return ask(SYS_getpid); }
CKPT_PUBLIC pid_t getppid() noexcept { return ask(SYS_getppid); }
CKPT_PUBLIC pid_t gettid() noexcept { return ask(SYS_gettid); }
CKPT_PUBLIC pid_t getpgrp() noexcept { return ask(SYS_getpgrp); }
CKPT_PUBLIC pid_t setsid() noexcept {
  return ckpt::agent::call_for_id([] { return call(SYS_setsid, 0); });
}
CKPT_PUBLIC pid_t getpgid(pid_t id) noexcept { return ask_about(SYS_getpgid, id); }
CKPT_PUBLIC pid_t getsid(pid_t id) noexcept { return ask_about(SYS_getsid, id); }
CKPT_PUBLIC int setpgid(pid_t id, pid_t group) noexcept {
  return call(SYS_setpgid, kernel_id(id), kernel_id(group));
}

CKPT_PUBLIC int kill(pid_t id, int signal) noexcept { return call(SYS_kill, kernel_target(id), signal); }
CKPT_PUBLIC int tgkill(pid_t process, pid_t thread, int signal) {
  return call(SYS_tgkill, kernel_id(process), kernel_id(thread), signal);
}
CKPT_PUBLIC int killpg(pid_t group, int signal) noexcept {
  if (group >= 0) return call(SYS_kill, -kernel_id(group), signal);
  errno = EINVAL;
  return -1;
}

// ---- terminals

CKPT_PUBLIC pid_t tcgetpgrp(int terminal) noexcept { return ask_terminal(terminal, TIOCGPGRP); }

CKPT_PUBLIC int tcsetpgrp(int terminal, pid_t group) noexcept {
  group = kernel_id(group);
  return call(SYS_ioctl, terminal, TIOCSPGRP, reinterpret_cast<long>(&group));
}

CKPT_PUBLIC pid_t tcgetsid(int terminal) noexcept { return ask_terminal(terminal, TIOCGSID); }

CKPT_PUBLIC int ioctl(int descriptor, unsigned long request, ...) noexcept {
  static int (*next)(int, unsigned long, ...) = nullptr;
  va_list rest;
  va_start(rest, request);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  if (ids_differ() && request == TIOCSPGRP) return tcsetpgrp(descriptor, *static_cast<pid_t*>(argument));
  int result = next_function(next, "ioctl")(descriptor, request, argument);
  if (result == 0 && (request == TIOCGPGRP || request == TIOCGSID)) {
    auto* id = static_cast<pid_t*>(argument);
    *id = seen_id(*id);
  }
  return result;
}

// ---- descriptors

namespace {

using Control = int(int, int, ...);

// Below -1, F_SETOWN and F_GETOWN mean a group.
int control(Control* next, int descriptor, int command, void* argument) {
  if (!ids_differ()) return next(descriptor, command, argument);
  if (command == F_SETOWN)
    return next(descriptor, command, kernel_target(static_cast<pid_t>(reinterpret_cast<long>(argument))));
  if (command == F_SETOWN_EX) {
    f_owner_ex owner = *static_cast<f_owner_ex*>(argument);
    owner.pid = kernel_id(owner.pid);
    return next(descriptor, command, &owner);
  }
  int result = next(descriptor, command, argument);
  if (result == -1) return result;
  if (command == F_GETOWN) return result < -1 ? -seen_id(-result) : seen_id(result);
  if (command == F_GETOWN_EX) {
    auto* owner = static_cast<f_owner_ex*>(argument);
    owner->pid = seen_id(owner->pid);
  } else if (command == F_GETLK) {
    auto* lock = static_cast<struct flock*>(argument);
    if (lock->l_type != F_UNLCK) lock->l_pid = seen_id(lock->l_pid);
  }
  return result;
}

}  // namespace

CKPT_PUBLIC int fcntl(int descriptor, int command, ...) {
  static Control* next = nullptr;
  va_list rest;
  va_start(rest, command);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  return control(next_function(next, "fcntl"), descriptor, command, argument);
}

CKPT_PUBLIC int fcntl64(int descriptor, int command, ...) {
  static Control* next = nullptr;
  va_list rest;
  va_start(rest, command);
  void* argument = va_arg(rest, void*);
  va_end(rest);
  return control(next_function(next, "fcntl64"), descriptor, command, argument);
}

CKPT_PUBLIC int pidfd_open(pid_t id, unsigned flags) noexcept {
  return call(SYS_pidfd_open, kernel_id(id), static_cast<long>(flags));
}

// ---- scheduling, limits, memory

CKPT_PUBLIC int sched_setparam(pid_t id, const sched_param* parameters) noexcept {
  static int (*next)(pid_t, const sched_param*) = nullptr;
  return next_function(next, "sched_setparam")(kernel_id(id), parameters);
}

CKPT_PUBLIC int sched_getparam(pid_t id, sched_param* parameters) noexcept {
  static int (*next)(pid_t, sched_param*) = nullptr;
  return next_function(next, "sched_getparam")(kernel_id(id), parameters);
}

CKPT_PUBLIC int sched_setscheduler(pid_t id, int policy, const sched_param* parameters) noexcept {
  static int (*next)(pid_t, int, const sched_param*) = nullptr;
  return next_function(next, "sched_setscheduler")(kernel_id(id), policy, parameters);
}

CKPT_PUBLIC int sched_getscheduler(pid_t id) noexcept {
  static int (*next)(pid_t) = nullptr;
  return next_function(next, "sched_getscheduler")(kernel_id(id));
}

CKPT_PUBLIC int sched_rr_get_interval(pid_t id, timespec* interval) noexcept {
  static int (*next)(pid_t, timespec*) = nullptr;
  return next_function(next, "sched_rr_get_interval")(kernel_id(id), interval);
}

CKPT_PUBLIC int sched_setaffinity(pid_t id, size_t size_bytes, const cpu_set_t* set) noexcept {
  static int (*next)(pid_t, size_t, const cpu_set_t*) = nullptr;
  return next_function(next, "sched_setaffinity")(kernel_id(id), size_bytes, set);
}

CKPT_PUBLIC int sched_getaffinity(pid_t id, size_t size_bytes, cpu_set_t* set) noexcept {
  static int (*next)(pid_t, size_t, cpu_set_t*) = nullptr;
  return next_function(next, "sched_getaffinity")(kernel_id(id), size_bytes, set);
}

namespace {

// Users are no ids of ours.
id_t whose_priority(int which, id_t who) {
  bool of_process = which == PRIO_PROCESS || which == PRIO_PGRP;
  return of_process ? static_cast<id_t>(kernel_id(static_cast<pid_t>(who))) : who;
}

}  // namespace

CKPT_PUBLIC int getpriority(__priority_which_t which, id_t who) noexcept {
  static int (*next)(int, id_t) = nullptr;
  return next_function(next, "getpriority")(which, whose_priority(which, who));
}

CKPT_PUBLIC int setpriority(__priority_which_t which, id_t who, int value) noexcept {
  static int (*next)(int, id_t, int) = nullptr;
  return next_function(next, "setpriority")(which, whose_priority(which, who), value);
}

CKPT_PUBLIC int prlimit(pid_t id, __rlimit_resource resource, const rlimit* wanted, rlimit* old) noexcept {
  static int (*next)(pid_t, int, const rlimit*, rlimit*) = nullptr;
  return next_function(next, "prlimit")(kernel_id(id), resource, wanted, old);
}

CKPT_PUBLIC int prlimit64(pid_t id, __rlimit_resource resource, const rlimit64* wanted,
                          rlimit64* old) noexcept {
  static int (*next)(pid_t, int, const rlimit64*, rlimit64*) = nullptr;
  return next_function(next, "prlimit64")(kernel_id(id), resource, wanted, old);
}

CKPT_PUBLIC int clock_getcpuclockid(pid_t id, clockid_t* clock) noexcept {
  static int (*next)(pid_t, clockid_t*) = nullptr;
  return next_function(next, "clock_getcpuclockid")(kernel_id(id), clock);
}

// A timer that signals one thread.
CKPT_PUBLIC int timer_create(clockid_t clock, sigevent* event, timer_t* timer) noexcept {
  static int (*next)(clockid_t, sigevent*, timer_t*) = nullptr;
  next_function(next, "timer_create");
  if (event == nullptr || (event->sigev_notify & SIGEV_THREAD_ID) == 0) return next(clock, event, timer);
  sigevent copy = *event;
  copy._sigev_un._tid = kernel_id(copy._sigev_un._tid);
  return next(clock, &copy, timer);
}

using MemoryTransfer = ssize_t(pid_t, const iovec*, unsigned long, const iovec*, unsigned long,
                               unsigned long);

CKPT_PUBLIC ssize_t process_vm_readv(pid_t id, const iovec* ours, unsigned long our_count,
                                     const iovec* theirs, unsigned long their_count,
                                     unsigned long flags) noexcept {
  static MemoryTransfer* next = nullptr;
  return next_function(next, "process_vm_readv")(kernel_id(id), ours, our_count, theirs, their_count, flags);
}

CKPT_PUBLIC ssize_t process_vm_writev(pid_t id, const iovec* ours, unsigned long our_count,
                                      const iovec* theirs, unsigned long their_count,
                                      unsigned long flags) noexcept {
  static MemoryTransfer* next = nullptr;
  return next_function(next, "process_vm_writev")(kernel_id(id), ours, our_count, theirs, their_count, flags);
}
