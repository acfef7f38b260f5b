#include "engine/tracee/arch/x86_64/call_registers.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/error.h"
#include "engine/tracee/arch/x86_64/syscall_instruction.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine::arch {
namespace {

// include/linux/errno.h; never seen by programs.
constexpr std::int64_t kRestartSys = 512;
constexpr std::int64_t kRestartNoIntr = 513;
constexpr std::int64_t kRestartNoHand = 514;
constexpr std::int64_t kRestartBlock = 516;

constexpr unsigned kMarkShift = 32;
constexpr unsigned long long kNoCall = ~0ULL;

CallSite site_in(const user_regs_struct& registers, std::uint64_t ip) {
  return {
      .arguments = {registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9},
      .sp = registers.rsp,
      .ip = ip};
}

long number_in(std::uint64_t marked) { return static_cast<std::int32_t>(marked); }
std::uint32_t mark_in(std::uint64_t marked) { return static_cast<std::uint32_t>(marked >> kMarkShift); }

std::uint64_t marked(long number, std::uint32_t mark) {
  return (std::uint64_t{mark} << kMarkShift) | static_cast<std::uint32_t>(number);
}

bool has_mark(const user_regs_struct& registers) {
  return static_cast<std::int64_t>(registers.rax) >= 0 && mark_in(registers.rax) != 0;
}

// Between two calls, or where the kernel has just turned an interrupted call into one to be made again.
bool stands_before_call(const user_regs_struct& registers) {
  return registers.orig_rax == kNoCall || (has_mark(registers) && registers.orig_rax == registers.rax);
}

std::optional<Interruption> interruption(std::int64_t result) {
  switch (-result) {
    case EINTR:
      return Interruption::kError;
    case kRestartSys:
    case kRestartNoIntr:
    case kRestartNoHand:
      return Interruption::kRepeats;
    case kRestartBlock:
      return Interruption::kRestartBlock;
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<InterruptedCall> interrupted_call(const user_regs_struct& registers) {
  if (static_cast<std::int64_t>(registers.orig_rax) < 0) return std::nullopt;
  std::optional<Interruption> how = interruption(static_cast<std::int64_t>(registers.rax));
  if (!how) return std::nullopt;
  return InterruptedCall{.how = *how,
                         .number = number_in(registers.orig_rax),
                         .mark = mark_in(registers.orig_rax),
                         .site = site_in(registers, registers.rip)};
}

std::optional<InterruptedCall> marked_call_ahead(const user_regs_struct& registers) {
  if (!has_mark(registers) || !stands_before_call(registers)) return std::nullopt;
  return InterruptedCall{.number = number_in(registers.rax),
                         .mark = mark_in(registers.rax),
                         .site = site_of_call_ahead(registers)};
}

void repeat_call(user_regs_struct& registers, std::uint32_t mark) {
  bool is_ahead = stands_before_call(registers);
  if (is_ahead) registers.rip += kSyscallInstructionBytes;
  registers.orig_rax = marked(number_in(is_ahead ? registers.rax : registers.orig_rax), mark);
  registers.rax = static_cast<unsigned long long>(-kRestartNoHand);
}

bool interrupt_continued_call(pid_t pid, user_regs_struct& registers) {
  if (registers.rax != kRestartNumber) return false;
  user_regs_struct interrupted = registers;
  interrupted.rip += kSyscallInstructionBytes;
  interrupted.orig_rax = kRestartNumber;
  if (!syscall_instruction_before(pid, interrupted)) return false;  // a result that looks like it
  interrupted.rax = static_cast<unsigned long long>(-kRestartBlock);
  registers = interrupted;
  return true;
}

void complete_call(user_regs_struct& registers, std::int64_t result) {
  if (stands_before_call(registers)) {
    registers.rip += kSyscallInstructionBytes;
    registers.rcx = registers.rip;  // what the instruction does to them
    registers.r11 = registers.eflags;
  }
  registers.orig_rax = kNoCall;
  registers.rax = static_cast<unsigned long long>(result);
}

void stand_before_call(user_regs_struct& registers, long number) {
  registers.rax = static_cast<unsigned long long>(number);
  registers.rip -= kSyscallInstructionBytes;
  registers.orig_rax = kNoCall;
}

void mark_call_ahead(user_regs_struct& registers, std::uint32_t mark) {
  registers.rax = marked(number_in(registers.rax), mark);
}

CallSite site_of_call_ahead(const user_regs_struct& registers) {
  return site_in(registers, registers.rip + kSyscallInstructionBytes);
}

bool marks_are_ignored() {
  static const bool ignored = ::syscall(static_cast<long>(marked(SYS_getpid, 1))) == ::getpid();
  return ignored;
}

std::optional<long> number_loaded_before(pid_t pid, const CallSite& site) {
  constexpr std::byte kLoadEax{0xb8};  // mov $imm32, %eax
  constexpr std::size_t kLoadBytes = 1 + sizeof(std::int32_t);
  std::array<std::byte, kLoadBytes> code{};
  try {
    read_remote(pid, RemoteAddr{site.ip} - kSyscallInstructionBytes - kLoadBytes, code);
  } catch (const Error&) {
    return std::nullopt;  // code that may not be read, or its page begins here
  }
  if (code[0] != kLoadEax) return std::nullopt;
  std::int32_t number = 0;
  std::memcpy(&number, &code[1], sizeof(number));
  return number;
}

void set_argument_of_call_ahead(user_regs_struct& registers, std::size_t index, std::uint64_t value) {
  const std::array<unsigned long long*, 6> places{&registers.rdi, &registers.rsi, &registers.rdx,
                                                  &registers.r10, &registers.r8,  &registers.r9};
  *places.at(index) = value;
}

void replace_in_kept_registers(user_regs_struct& registers, std::uint64_t value, std::uint64_t by) {
  for (auto* kept :
       {&registers.rbx, &registers.rbp, &registers.r12, &registers.r13, &registers.r14, &registers.r15}) {
    if (*kept == value) *kept = by;
  }
}

}  // namespace ckpt::engine::arch
