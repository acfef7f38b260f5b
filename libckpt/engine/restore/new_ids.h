// What a program with new thread ids keeps about its old ones, as far as the kernel and libc know where:
//  - the id that libc keeps of each thread, where the kernel clears it at the thread's end;
//  - the futex words of robust mutexes that a thread holds or is about to take (its robust list);
//  - the futex words of priority-inheritance mutexes that a thread waits for;
//  - the id that a thread inside a lock function of libc is about to store as the owner;
//  - the owner in libc's mutexes around these words;
//  - the owner of recursive and error-checking mutexes, which no list names: they are recognised by their
//  form.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <set>
#include <tuple>

#include "engine/process/id_map.h"
#include "image_generated.h"

namespace ckpt::engine {

// Futex words, each to be corrected once: a new id may be another's old one, and several processes may share
// the word. By kind, object or process, and place in it.
using CorrectedWords = std::set<std::tuple<int, std::uint64_t, std::uint64_t>>;

// `pid` has its memory, its threads are stopped. `corrected` is that of all processes, and receives the held
// mutexes of this one.
void correct_ids_in_memory(pid_t pid, const image::ProcessT& process, const IdMap& ids,
                           CorrectedWords& corrected);

}  // namespace ckpt::engine
