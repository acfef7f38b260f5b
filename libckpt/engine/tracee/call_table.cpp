#include "engine/tracee/call_table.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace ckpt::engine {
namespace {

bool sleep_is_relative(const CallArguments& arguments) {
  if ((arguments[1] & TIMER_ABSTIME) != 0) return false;
  auto clock = static_cast<clockid_t>(arguments[0]);
  // Processor time does not pass while the program is stopped, so it says nothing about the time left.
  return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME || clock == CLOCK_TAI;
}

bool futex_wait_is_relative(const CallArguments& arguments) {
  return (arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT;
}

using enum TimeoutPlace;

// man 7 signal, "Interruption of system calls and library functions by stop signals", and the kernel's
// sources.
constexpr CallKind kKinds[] = {
    {.number = SYS_nanosleep, .place = kTimespec, .argument = 0, .timed_out = 0, .remaining = 1},
    {.number = SYS_clock_nanosleep,
     .place = kTimespec,
     .argument = 2,
     .timed_out = 0,
     .remaining = 3,
     .is_relative = sleep_is_relative},
    {.number = SYS_poll, .place = kMilliseconds, .argument = 2, .timed_out = 0},
    {.number = SYS_futex,
     .place = kTimespec,
     .argument = 3,
     .timed_out = -ETIMEDOUT,
     .is_relative = futex_wait_is_relative},
    {.number = SYS_epoll_wait, .place = kMilliseconds, .argument = 3, .timed_out = 0},
    {.number = SYS_epoll_pwait, .place = kMilliseconds, .argument = 3, .timed_out = 0},
    {.number = SYS_epoll_pwait2, .place = kTimespec, .argument = 3, .timed_out = 0},
    {.number = SYS_rt_sigtimedwait, .place = kTimespec, .argument = 2, .timed_out = -EAGAIN},
    {.number = SYS_semop, .place = kNone, .argument = 0, .timed_out = 0},
    {.number = SYS_semtimedop, .place = kTimespec, .argument = 3, .timed_out = -EAGAIN},
    {.number = SYS_io_getevents, .place = kTimespec, .argument = 4, .timed_out = 0},
    {.number = SYS_io_pgetevents, .place = kTimespec, .argument = 4, .timed_out = 0},
    {.number = SYS_io_uring_enter, .place = kIoUring, .argument = 4, .timed_out = -ETIME},
    // On a socket with a timeout; for others, EINTR of these says that nothing was moved.
    {.number = SYS_read, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_readv, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_recvfrom, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_recvmsg, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_recvmmsg, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_accept, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_accept4, .place = kSocketReceive, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_write, .place = kSocketSend, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_writev, .place = kSocketSend, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_sendto, .place = kSocketSend, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_sendmsg, .place = kSocketSend, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_sendmmsg, .place = kSocketSend, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_sendfile, .place = kSocketSend, .argument = 0, .timed_out = -EAGAIN},
    {.number = SYS_connect, .place = kSocketSend, .argument = 0, .timed_out = -EINPROGRESS},
};

}  // namespace

const CallKind* find_call_kind(long number) {
  const CallKind* found = std::ranges::find(kKinds, number, &CallKind::number);
  return found == std::end(kKinds) ? nullptr : found;
}

}  // namespace ckpt::engine
