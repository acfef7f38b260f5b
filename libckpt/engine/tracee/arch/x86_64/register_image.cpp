#include "engine/tracee/arch/x86_64/register_image.h"

#include <fmt/format.h>

#include <cstring>

#include "base/error.h"

namespace ckpt::engine::arch {
namespace {

constexpr std::size_t kRegisterCount = 27;
static_assert(sizeof(user_regs_struct) == kRegisterCount * sizeof(std::uint64_t));

}  // namespace

std::vector<std::uint64_t> to_image(const user_regs_struct& registers) {
  std::vector<std::uint64_t> values(kRegisterCount);
  std::memcpy(values.data(), &registers, sizeof(registers));
  return values;
}

user_regs_struct from_image(std::span<const std::uint64_t> values) {
  if (values.size() != kRegisterCount) {
    throw Error(
        fmt::format("a thread in the checkpoint has {} registers instead of {}; the checkpoint is damaged",
                    values.size(), kRegisterCount));
  }
  user_regs_struct registers;
  std::memcpy(&registers, values.data(), sizeof(registers));
  return registers;
}

}  // namespace ckpt::engine::arch
