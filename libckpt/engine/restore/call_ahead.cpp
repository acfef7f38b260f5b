#include "engine/restore/call_ahead.h"

#include <span>

#include "base/error.h"
#include "engine/tracee/arch/x86_64/call_registers.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/arch/x86_64/syscall_instruction.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {

std::optional<CallAhead> call_ahead(pid_t pid, const image::ThreadT& thread) {
  user_regs_struct registers = arch::from_image(thread.registers);
  constexpr std::array<std::byte, arch::kSyscallInstructionBytes> kSyscall{std::byte{0x0f}, std::byte{0x05}};
  std::array<std::byte, kSyscall.size()> code{};
  try {
    read_remote(pid, RemoteAddr{registers.rip}, code);
  } catch (const Error&) {
    return std::nullopt;  // it is about to fault
  }
  if (code != kSyscall) return std::nullopt;
  return CallAhead{.number = static_cast<std::int32_t>(registers.rax),
                   .arguments = arch::site_of_call_ahead(registers).arguments};
}

}  // namespace ckpt::engine
