// syscall(): who opened what has no function of its own in libc; and ids. See intent.h for the rules.
//
// Like mmap() it goes straight to the kernel, because it is called, by us too, when dlsym() does not work
// yet.
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>

#include "agent/arch/x86_64/raw_syscall.h"
#include "agent/id_calls.h"
#include "agent/ids.h"
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

constexpr size_t kBitsPerWord = 64;
using CallBits = std::array<uint64_t, 512 / kBitsPerWord>;

constexpr CallBits bits_of_id_calls() {
  CallBits bits{};
  for (const ckpt::agent::IdCall& call : ckpt::agent::kIdCalls) {
    auto number = static_cast<size_t>(call.number);
    bits[number / kBitsPerWord] |= uint64_t{1} << number % kBitsPerWord;
  }
  return bits;
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

extern const CallBits ckpt_id_calls __attribute__((visibility("hidden")));
__attribute__((used)) const CallBits ckpt_id_calls = bits_of_id_calls();

__attribute__((used)) long ckpt_seen_result(long result) {
  return ckpt::agent::seen_id(static_cast<pid_t>(result));
}

__attribute__((used)) long ckpt_syscall_with_ids(long number, long first, long second, long third,
                                                 long fourth, long fifth, long sixth) {
  const ckpt::agent::IdCall* call = ckpt::agent::find_id_call(number);
  auto change = [](pid_t id) { return ckpt::agent::kernel_id(id); };
  long kernel_second = change_id(call->second, first, second, change);
  first = change_id(call->first, 0, first, change);
  uint32_t before = ckpt::agent::ids_in_use();
  long result = ckpt::agent::raw_syscall(number, first, kernel_second, third, fourth, fifth, sixth);
  if (result < 0 && result >= -kLargestErrno) return ckpt_failed_syscall(result);
  if (number == SYS_waitid) ckpt::agent::see_sender(reinterpret_cast<siginfo_t*>(third));
  if (!call->gives_id) return result;
  long seen = ckpt_seen_result(result);
  return ckpt::agent::ids_in_use() == before ? seen
                                             : ckpt::agent::seen_across_recover(static_cast<pid_t>(result));
}

}  // extern "C"
