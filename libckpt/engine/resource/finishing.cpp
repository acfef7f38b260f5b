#include "engine/resource/finishing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>

#include "base/error.h"

namespace ckpt::engine::resource {

std::int64_t call_or_throw(ProgramCalls& program, const std::string& attempt, long number,
                           std::initializer_list<std::uint64_t> arguments) {
  std::int64_t result = program.call(number, arguments);
  if (result < 0) throw_errno(attempt, static_cast<int>(-result));
  return result;
}

void put_at_numbers(ProgramCalls& program, std::int64_t fd,
                    const std::vector<const image::DescriptorT*>& numbers) {
  for (const image::DescriptorT* descriptor : numbers) {
    std::uint64_t flags = descriptor->close_on_exec ? O_CLOEXEC : 0;
    call_or_throw(program, fmt::format("make descriptor {}", descriptor->number), SYS_dup3,
                  {static_cast<std::uint64_t>(fd), static_cast<std::uint64_t>(descriptor->number), flags});
  }
  call_or_throw(program, "close a temporary descriptor", SYS_close, {static_cast<std::uint64_t>(fd)});
}

}  // namespace ckpt::engine::resource
