#include "engine/restore/awaited_ids.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

#include "agent/id_calls.h"
#include "base/error.h"
#include "engine/restore/call_ahead.h"
#include "engine/tracee/arch/x86_64/call_registers.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

// From the call up to the function of libc that wants to know: the frames between them are small.
constexpr std::size_t kFrameBytes = 1024;
constexpr std::size_t kNearFrameBytes = 256;

bool is_agent_code(const image::ProcessT& process, std::uint64_t address) {
  return std::ranges::any_of(process.mappings, [address](const auto& mapping) {
    return (mapping->protection & PROT_EXEC) != 0 && mapping->start <= address && address < mapping->end &&
           std::string_view(mapping->name).ends_with("/libckpt.so");
  });
}

template <typename Word>
Word word_at(std::span<const std::byte> bytes, std::size_t offset) {
  Word word{};
  std::memcpy(&word, bytes.data() + offset, sizeof word);
  return word;
}

// Where the agent waits for the program, whoever is above it knows the id that the program sees.
bool waits_for_program(const image::ProcessT& process, std::span<const std::byte> frames) {
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= std::min(frames.size(), kNearFrameBytes);
       at += sizeof(std::uint64_t)) {
    if (is_agent_code(process, word_at<std::uint64_t>(frames, at))) return true;
  }
  return false;
}

// It compares the id that the call returns with the one that it asked for.
void correct_waiting_function(pid_t pid, const image::ProcessT& process, image::ThreadT& thread,
                              std::int32_t saved, std::int32_t now) {
  user_regs_struct registers = arch::from_image(thread.registers);
  std::array<std::byte, kFrameBytes> frames{};
  RemoteAddr stack{registers.rsp};
  try {
    read_remote(pid, stack, frames);
  } catch (const Error&) {
    return;  // a stack with less above
  }
  if (waits_for_program(process, frames)) return;
  for (std::size_t at = 0; at < frames.size(); at += sizeof saved) {
    if (word_at<std::int32_t>(frames, at) == saved)
      write_remote(pid, stack + at, std::as_bytes(std::span(&now, 1)));
  }
  arch::replace_in_kept_registers(registers, static_cast<std::uint32_t>(saved),
                                  static_cast<std::uint32_t>(now));
  thread.registers = arch::to_image(registers);
}

void correct_call(pid_t pid, const image::ProcessT& process, image::ThreadT& thread, const IdMap& ids) {
  std::optional<CallAhead> call = call_ahead(pid, thread);
  const agent::IdCall* known = call ? agent::find_id_call(call->number) : nullptr;
  if (known == nullptr) return;
  auto change = [&ids](std::int32_t id) { return current_id(ids, id); };
  auto argument = [&](std::size_t index) { return static_cast<long>(call->arguments.at(index)); };
  long first = agent::change_id(known->first, 0, argument(0), change);
  long second = agent::change_id(known->second, argument(0), argument(1), change);
  user_regs_struct registers = arch::from_image(thread.registers);
  arch::set_argument_of_call_ahead(registers, 0, static_cast<std::uint64_t>(first));
  arch::set_argument_of_call_ahead(registers, 1, static_cast<std::uint64_t>(second));
  thread.registers = arch::to_image(registers);
  auto saved = static_cast<std::int32_t>(argument(0));
  if (call->number == SYS_wait4 && saved > 0 && ids.contains(saved))
    correct_waiting_function(pid, process, thread, saved, current_id(ids, saved));
}

}  // namespace

void correct_awaited_ids(pid_t pid, image::ProcessT& process, const IdMap& ids) {
  for (auto& thread : process.threads) correct_call(pid, process, *thread, ids);
}

}  // namespace ckpt::engine
