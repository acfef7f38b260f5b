// What a program's end would add to its semaphores (SEM_UNDO, semop(2)). No call tells: it is found by
// operations that cannot succeed as a whole, from how they fail, so that nothing changes.
#pragma once

#include <sys/sem.h>

#include <cstdint>
#include <vector>

#include "engine/resource/program_calls.h"

namespace ckpt::engine::resource {

// Operations on semaphore `number` at `value` that fail with ERANGE if `undo` + `more` exceeds what the
// kernel allows (32767), else with EAGAIN. `more` is at most 65535.
std::vector<sembuf> undo_question(unsigned number, unsigned value, unsigned more);

// The adjustment that the program has for semaphore `number` of set `id`, whose value is `value`.
std::int16_t find_undo(ProgramCalls& program, int id, unsigned number, unsigned value);

// Operations that give the adjustment of whoever makes them `undo` more, and leave `value`.
std::vector<sembuf> undo_more(unsigned number, unsigned value, int undo);

// Operations that leave `value` and the adjustment `undo` behind, and the value to begin with.
struct UndoAgain {
  std::uint16_t first_value = 0;
  std::vector<sembuf> operations;
};
UndoAgain undo_again(unsigned number, std::uint16_t value, std::int16_t undo);

}  // namespace ckpt::engine::resource
