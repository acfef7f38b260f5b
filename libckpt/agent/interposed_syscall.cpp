// syscall(): who opened what has no function of its own in libc. See intent.h for the rules.
//
// Like mmap() it goes straight to the kernel, because it is called, by us too, when dlsym() does not work
// yet.
#include <errno.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/arch/x86_64/raw_syscall.h"
#include "agent/intent.h"

namespace {

constexpr long kLargestErrno = 4095;

// What /proc/PID/fd says of the descriptor that the call makes, or a part of it; null if it makes none.
const char* name_of_result(long number, long second) {
  switch (number) {
    case SYS_userfaultfd:
      return "[userfaultfd]";
    case SYS_perf_event_open:
      return "[perf_event]";
    case SYS_bpf:
      return "bpf";
    default:
      return (second & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0 ? "seccomp" : nullptr;
  }
}

}  // namespace

// Jumped to by syscall() (arch/x86_64/syscall_entry.cpp), with its arguments or its result.
extern "C" {

__attribute__((used)) long ckpt_failed_syscall(long result) {
  errno = static_cast<int>(-result);
  return -1;
}

__attribute__((used)) long ckpt_noted_syscall(long number, long first, long second, long third, long fourth,
                                              long fifth, long sixth) {
  long result = ckpt::agent::raw_syscall(number, first, second, third, fourth, fifth, sixth);
  if (result < 0 && result >= -kLargestErrno) return ckpt_failed_syscall(result);
  const char* name = name_of_result(number, second);
  // Other results of such calls than descriptors are 0; and none takes the place of a standard stream.
  if (name != nullptr && result > STDERR_FILENO)
    ckpt::agent::note_opened(static_cast<int>(result), name, __builtin_return_address(0));
  return result;
}

}  // extern "C"
