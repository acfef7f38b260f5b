#include "engine/capture/tracee_program.h"

namespace ckpt::engine {

std::int64_t TraceeProgram::call(long number, std::initializer_list<std::uint64_t> arguments) {
  return tracee_.remote_syscall(number, arguments);
}

RemoteAddr TraceeProgram::place(std::span<const std::byte> bytes) {
  RemoteAddr room = tracee_.scratch();
  tracee_.write(room, bytes);
  return room;
}

void TraceeProgram::fetch(RemoteAddr from, std::span<std::byte> out) { tracee_.read(from, out); }

}  // namespace ckpt::engine
