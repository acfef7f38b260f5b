#include "engine/tracee/arch/x86_64/extended_state.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine::arch {
namespace {

constexpr std::size_t kLargestArea = 64UL * 1024;  // AMX tiles make it 11 KiB today
constexpr std::size_t kComponentsOffset = 464;
constexpr std::size_t kHeaderStart =
    512;  // begins with XSTATE_BV: the components that are not in their initial state
constexpr std::size_t kHeaderEnd = 576;

void leave_out(std::uint64_t components, std::span<std::uint8_t> area) {
  std::uint64_t in_use = 0;
  std::memcpy(&in_use, area.data() + kHeaderStart, sizeof in_use);
  in_use &= ~components;
  std::memcpy(area.data() + kHeaderStart, &in_use, sizeof in_use);
}

}  // namespace

std::vector<std::uint8_t> save_extended_state(pid_t tid) {
  static thread_local std::array<std::uint8_t, kLargestArea> buffer;  // touched as far as is used
  iovec vector{buffer.data(), buffer.size()};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_X86_XSTATE, &vector) != 0) {
    throw_errno(fmt::format("read extended registers of thread {}", tid));
  }
  return {buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(vector.iov_len)};
}

std::uint64_t extended_state_components(std::span<const std::uint8_t> area) {
  std::uint64_t components = 0;
  if (area.size() >= kHeaderEnd)
    std::memcpy(&components, area.data() + kComponentsOffset, sizeof(components));
  return components;
}

void restore_extended_state(pid_t tid, std::span<const std::uint8_t> area, bool force) {
  std::vector<std::uint8_t> here = save_extended_state(tid);
  std::uint64_t missing = extended_state_components(area) & ~extended_state_components(here);
  if ((missing != 0 && !force) || area.size() < kHeaderEnd) {
    throw Error(
        fmt::format("this processor lacks register sets that the checkpoint contains (XCR0 bits {:#x}); "
                    "recover it on a machine that has them",
                    missing));
  }
  // The standard format puts each component at the same place everywhere: a larger area only has more behind.
  std::vector<std::uint8_t> padded(std::max(here.size(), area.size()));
  std::ranges::copy(area, padded.begin());
  padded.resize(here.size());
  leave_out(missing, padded);
  iovec vector{padded.data(), padded.size()};
  if (::ptrace(PTRACE_SETREGSET, tid, NT_X86_XSTATE, &vector) != 0) {
    throw_errno(fmt::format("write extended registers of thread {}", tid));
  }
}

}  // namespace ckpt::engine::arch
