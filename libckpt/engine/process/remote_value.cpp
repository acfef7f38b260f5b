#include "engine/process/remote_value.h"

#include <fmt/format.h>

#include "base/error.h"

namespace ckpt::engine {

std::int64_t remote_call_or_throw(Tracee& tracee, StoppedThread& thread, std::string_view attempt,
                                  long number, std::initializer_list<std::uint64_t> arguments) {
  std::int64_t result = tracee.remote_syscall(thread, number, arguments);
  if (result < 0) throw_errno(fmt::format("{} in thread {}", attempt, thread.tid), static_cast<int>(-result));
  return result;
}

}  // namespace ckpt::engine
