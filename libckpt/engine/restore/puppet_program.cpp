#include "engine/restore/puppet_program.h"

#include <algorithm>

#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {

std::int32_t PuppetProgram::proc_tid(std::int32_t saved) const {
  const auto& threads = process_.threads;
  auto found = std::ranges::find_if(threads, [saved](const auto& thread) { return thread->tid == saved; });
  if (found == threads.end()) return current_tid(saved);
  return puppet_.threads().at(static_cast<std::size_t>(found - threads.begin()));
}

std::int64_t PuppetProgram::call(long number, std::initializer_list<std::uint64_t> arguments) {
  return puppet_.call(number, arguments);
}

RemoteAddr PuppetProgram::place(std::span<const std::byte> bytes) {
  write_remote(pid(), room_, bytes);
  return room_;
}

void PuppetProgram::fetch(RemoteAddr from, std::span<std::byte> out) { read_remote(pid(), from, out); }

}  // namespace ckpt::engine
