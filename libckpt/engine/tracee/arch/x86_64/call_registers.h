// How a blocking system call stands in the registers of a stopped x86-64 thread, and how it is moved on.
//
// A call that a stop interrupted leaves orig_rax = number and rax = -EINTR or one of the kernel's restart
// codes; when the thread is let go from its ptrace stop, the kernel looks at them: a signal with a handler
// makes the call return EINTR, otherwise a restart code makes the thread repeat the call.
//
// A *mark* in the upper half of the number names one call: the kernel looks at the lower 32 bits only
// (since 5.14), keeps the whole register in orig_rax when it repeats the call, and the call's result
// overwrites it before the program can look. So a later stop knows this very call from another one with equal
// arguments.
#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace ckpt::engine::arch {

// Where a system call was made and with what. `ip` is behind the instruction.
struct CallSite {
  std::array<std::uint64_t, 6> arguments{};
  std::uint64_t sp = 0;
  std::uint64_t ip = 0;

  bool operator==(const CallSite&) const = default;
};

enum class Interruption {
  kError,         // -EINTR: nothing would repeat the call
  kRepeats,       // the kernel repeats the call from its beginning
  kRestartBlock,  // the kernel goes on with it by restart_syscall, deadline kept
};

struct InterruptedCall {
  Interruption how = Interruption::kError;
  long number = 0;         // kRestartNumber if it had been interrupted before and gone on
  std::uint32_t mark = 0;  // 0: none
  CallSite site;
};

inline constexpr long kRestartNumber = 219;  // restart_syscall

// The call that a stop took `registers` out of, if any.
std::optional<InterruptedCall> interrupted_call(const user_regs_struct& registers);

// The call that `registers` stand in front of with a mark, if any; `how` says nothing then.
std::optional<InterruptedCall> marked_call_ahead(const user_regs_struct& registers);

// Has the kernel repeat an interrupted call under `mark`, or return EINTR from it if a handler is to run
// first. A call that is still ahead becomes an interrupted one: a handler that ran before it would leave it
// waiting.
void repeat_call(user_regs_struct& registers, std::uint32_t mark);

// If the thread is about to go on with an interrupted call by restart_syscall, where the kernel puts it after
// a stop, the call becomes an interrupted one again: a handler that ran before it would leave it waiting, and
// without the kernel's memory of it that number means nothing. Whether it was.
bool interrupt_continued_call(pid_t pid, user_regs_struct& registers);

// Makes an interrupted call, or one that is still ahead, return `result`.
void complete_call(user_regs_struct& registers, std::int64_t result);

// From an interrupted call back to the instruction that makes it.
void stand_before_call(user_regs_struct& registers, long number);

// The call that `registers` stand in front of gets `mark`.
void mark_call_ahead(user_regs_struct& registers, std::uint32_t mark);
CallSite site_of_call_ahead(const user_regs_struct& registers);
void set_argument_of_call_ahead(user_regs_struct& registers, std::size_t index, std::uint64_t value);

// In those that functions keep for their callers.
void replace_in_kept_registers(user_regs_struct& registers, std::uint64_t value, std::uint64_t by);

// Whether this kernel ignores marks, as it must.
bool marks_are_ignored();

// The number that the instructions before a system call load, if that is plain to see.
std::optional<long> number_loaded_before(pid_t pid, const CallSite& site);

}  // namespace ckpt::engine::arch
