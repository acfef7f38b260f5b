#include "engine/tracee/arch/x86_64/syscall_instruction.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine::arch {
namespace {

constexpr std::array<std::byte, kSyscallInstructionBytes> kSyscall{std::byte{0x0f}, std::byte{0x05}};

std::optional<RemoteAddr> search(pid_t pid, RemoteAddr start, std::uint64_t size_bytes) {
  std::vector<std::byte> code(std::min<std::uint64_t>(size_bytes, 1 << 20));
  read_remote(pid, start, code);
  auto found = std::ranges::search(code, kSyscall);
  if (found.empty()) return std::nullopt;
  return start + static_cast<std::uint64_t>(found.begin() - code.begin());
}

}  // namespace

RemoteAddr find_syscall_instruction(pid_t pid) {
  std::string maps = read_file(fmt::format("/proc/{}/maps", pid));
  for (bool vdso_only : {true, false}) {
    for (std::string_view rest = maps; !rest.empty();) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      std::size_t dash = line.find('-');
      std::size_t blank = line.find(' ');
      if (dash == std::string_view::npos || blank == std::string_view::npos || line.size() < blank + 5)
        continue;
      bool executable = line[blank + 3] == 'x' && line[blank + 1] == 'r';
      if (!executable || line.ends_with("[vsyscall]") || (vdso_only && !line.ends_with("[vdso]"))) continue;
      std::uint64_t start = parse_unsigned(line.substr(0, dash), 16).value_or(0);
      std::uint64_t end = parse_unsigned(line.substr(dash + 1, blank - dash - 1), 16).value_or(0);
      if (auto found = search(pid, RemoteAddr{start}, end - start)) return *found;
    }
  }
  throw Error(fmt::format(
      "process {} has no system-call instruction in any executable mapping; it cannot be examined", pid));
}

std::optional<RemoteAddr> syscall_instruction_before(pid_t pid, const user_regs_struct& registers) {
  if (static_cast<std::int64_t>(registers.orig_rax) < 0) return std::nullopt;
  RemoteAddr instruction = RemoteAddr{registers.rip} - kSyscallInstructionBytes;
  std::array<std::byte, kSyscallInstructionBytes> code{};
  try {
    read_remote(pid, instruction, code);
  } catch (const Error&) {
    return std::nullopt;  // executable, but not readable
  }
  return code == kSyscall ? std::optional(instruction) : std::nullopt;
}

user_regs_struct registers_for_call(const user_regs_struct& base, RemoteAddr instruction, long number,
                                    std::initializer_list<std::uint64_t> arguments) {
  user_regs_struct registers = base;
  std::array<unsigned long long*, 6> slots{&registers.rdi, &registers.rsi, &registers.rdx,
                                           &registers.r10, &registers.r8,  &registers.r9};
  auto slot = slots.begin();
  for (std::uint64_t argument : arguments) **slot++ = argument;
  registers.rip = instruction.value;
  registers.rax = static_cast<unsigned long long>(number);
  registers.orig_rax = ~0ULL;
  return registers;
}

}  // namespace ckpt::engine::arch
