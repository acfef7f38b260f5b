#include "engine/resource/semaphore_undo.h"

#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

constexpr unsigned kMost = 32767;  // SEMVMX, and SEMAEM

sembuf operation(unsigned number, int change, int flags) {
  return {.sem_num = static_cast<unsigned short>(number),
          .sem_op = static_cast<short>(change),
          .sem_flg = static_cast<short>(flags)};
}

bool exceeds(ProgramCalls& program, int id, unsigned number, unsigned value, unsigned more) {
  std::vector<sembuf> question = undo_question(number, value, more);
  RemoteAddr address = program.place(std::as_bytes(std::span(question)));
  std::int64_t result =
      program.call(SYS_semop, {static_cast<std::uint64_t>(id), address.value, question.size()});
  if (result == -ERANGE) return true;
  if (result == -EAGAIN) return false;
  throw_errno(fmt::format("ask semaphore {} of set {}", number, id), static_cast<int>(-result));
}

}  // namespace

// Each step takes away with SEM_UNDO what it adds without, or the other way round: the value stays, and the
// adjustment grows (or, if `undo` is negative, shrinks).
std::vector<sembuf> undo_more(unsigned number, unsigned value, int undo) {
  bool up_first = value <= kMost / 2;
  unsigned longest = up_first ? kMost - value : value;
  std::vector<sembuf> operations;
  for (auto rest = static_cast<unsigned>(std::abs(undo)); rest > 0;) {
    auto step = static_cast<int>(std::min(rest, longest));
    auto up = static_cast<int>(undo < 0 ? SEM_UNDO : 0);
    sembuf adding = operation(number, step, IPC_NOWAIT | up);
    sembuf taking = operation(number, -step, IPC_NOWAIT | (up ^ SEM_UNDO));
    operations.push_back(up_first ? adding : taking);
    operations.push_back(up_first ? taking : adding);
    rest -= static_cast<unsigned>(step);
  }
  return operations;
}

// The last operation waits for what is not so.
std::vector<sembuf> undo_question(unsigned number, unsigned value, unsigned more) {
  std::vector<sembuf> operations = undo_more(number, value, static_cast<int>(more));
  operations.push_back(operation(number, value == 0 ? -1 : 0, IPC_NOWAIT));
  return operations;
}

std::int16_t find_undo(ProgramCalls& program, int id, unsigned number, unsigned value) {
  unsigned low = 0;
  unsigned high = 65535;  // undo + low is allowed, undo + high + 1 is not
  if (!exceeds(program, id, number, value, kMost)) low = kMost;
  if (exceeds(program, id, number, value, kMost + 1)) high = kMost;
  while (low < high) {
    unsigned middle = low + (high - low + 1) / 2;
    if (exceeds(program, id, number, value, middle)) {
      high = middle - 1;
    } else {
      low = middle;
    }
  }
  return static_cast<std::int16_t>(static_cast<int>(kMost) - static_cast<int>(low));
}

UndoAgain undo_again(unsigned number, std::uint16_t value, std::int16_t undo) {
  UndoAgain again{.first_value = value, .operations = {}};
  if (undo == 0) return again;
  int first = std::clamp(value + undo, 0, static_cast<int>(kMost));
  again.first_value = static_cast<std::uint16_t>(first);
  again.operations.push_back(operation(number, -undo, SEM_UNDO | IPC_NOWAIT));
  int rest = value - (first - undo);
  if (rest != 0) again.operations.push_back(operation(number, rest, IPC_NOWAIT));
  return again;
}

}  // namespace ckpt::engine::resource
