// Functions that make processes or wait for them, and for signals. See intent.h for the rules.
//
// A recover may come while they wait.
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/ids.h"
#include "agent/next_function.h"
#include "agent/public.h"

using ckpt::agent::call_for_id;
using ckpt::agent::kernel_id;
using ckpt::agent::kernel_target;
using ckpt::agent::next_function;
using ckpt::agent::see_sender;

namespace {

pid_t (*next_fork)() = nullptr;
pid_t (*next_wait)(int*) = nullptr;
pid_t (*next_waitpid)(pid_t, int*, int) = nullptr;
pid_t (*next_wait3)(int*, int, rusage*) = nullptr;
pid_t (*next_wait4)(pid_t, int*, int, rusage*) = nullptr;
int (*next_waitid)(idtype_t, id_t, siginfo_t*, int) = nullptr;
int (*next_sigqueue)(pid_t, int, sigval) = nullptr;
int (*next_sigwaitinfo)(const sigset_t*, siginfo_t*) = nullptr;
int (*next_sigtimedwait)(const sigset_t*, siginfo_t*, const timespec*) = nullptr;

}  // namespace

namespace ckpt::agent {

void find_waiting_functions() {
  next_function(next_fork, "fork");
  next_function(next_wait, "wait");
  next_function(next_waitpid, "waitpid");
  next_function(next_wait3, "wait3");
  next_function(next_wait4, "wait4");
  next_function(next_waitid, "waitid");
  next_function(next_sigqueue, "sigqueue");
}

}  // namespace ckpt::agent

CKPT_PUBLIC pid_t fork() noexcept {
  return call_for_id([=] { return next_function(next_fork, "fork")(); });
}

CKPT_PUBLIC pid_t forkpty(int* master, char* name, const termios* modes, const winsize* window) noexcept {
  static pid_t (*next)(int*, char*, const termios*, const winsize*) = nullptr;
  return call_for_id([=] { return next_function(next, "forkpty")(master, name, modes, window); });
}

// The three behind `argument` may be missing, and are not looked at then.
CKPT_PUBLIC int clone(int (*function)(void*), void* stack, int flags, void* argument, ...) noexcept {
  static int (*next)(int (*)(void*), void*, int, void*, ...) = nullptr;
  va_list rest;
  va_start(rest, argument);
  auto* parent_id = va_arg(rest, pid_t*);
  void* thread_area = va_arg(rest, void*);
  auto* child_id = va_arg(rest, pid_t*);
  va_end(rest);
  return call_for_id([=] {
    return next_function(next, "clone")(function, stack, flags, argument, parent_id, thread_area, child_id);
  });
}

CKPT_PUBLIC pid_t wait(int* status) {
  return call_for_id([=] { return next_function(next_wait, "wait")(status); });
}

CKPT_PUBLIC pid_t waitpid(pid_t id, int* status, int options) {
  return call_for_id(
      [=] { return next_function(next_waitpid, "waitpid")(kernel_target(id), status, options); });
}

CKPT_PUBLIC pid_t wait3(int* status, int options, rusage* usage) noexcept {
  return call_for_id([=] { return next_function(next_wait3, "wait3")(status, options, usage); });
}

CKPT_PUBLIC pid_t wait4(pid_t id, int* status, int options, rusage* usage) noexcept {
  return call_for_id(
      [=] { return next_function(next_wait4, "wait4")(kernel_target(id), status, options, usage); });
}

CKPT_PUBLIC int waitid(idtype_t kind, id_t id, siginfo_t* info, int options) {
  bool names_one = kind == P_PID || kind == P_PGID;
  if (names_one) id = static_cast<id_t>(kernel_id(static_cast<pid_t>(id)));
  int result = next_function(next_waitid, "waitid")(kind, id, info, options);
  if (result == 0) see_sender(info);
  return result;
}

// ---- signals

CKPT_PUBLIC int sigqueue(pid_t id, int signal, sigval value) noexcept {
  return next_function(next_sigqueue, "sigqueue")(kernel_id(id), signal, value);
}

CKPT_PUBLIC int sigwaitinfo(const sigset_t* set, siginfo_t* info) {
  int signal = next_function(next_sigwaitinfo, "sigwaitinfo")(set, info);
  if (signal > 0) see_sender(info);
  return signal;
}

CKPT_PUBLIC int sigtimedwait(const sigset_t* set, siginfo_t* info, const timespec* limit) {
  int signal = next_function(next_sigtimedwait, "sigtimedwait")(set, info, limit);
  if (signal > 0) see_sender(info);
  return signal;
}
