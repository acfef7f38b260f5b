// Ids as the program sees them, in place of those of the kernel (id_table.h): used by what stands in front of
// those functions of libc that take or give ids. See intent.h for the rules. All of it keeps errno.
//
// The functions of libc itself go past this, which is right as long as they only hand an id on, or keep one
// of their own thread: the supervisor corrects these (engine/restore/new_ids.h).
#pragma once

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

extern "C" {
// Written by the supervisor, too.
enum CkptIdsInUse : uint32_t { kCkptOwnIds = 0, kCkptOtherIds = 1, kCkptNotLooked = 2 };
extern uint32_t ckpt_ids_in_use;
}

namespace ckpt::agent {

// In the environment of what a program with other ids executes, for this library, which takes it out again:
// the pairs, each as 14 hexadecimal digits, eight for the seen id, six for the kernel's.
inline constexpr char kIdsVariable[] = "CKPT_IDS";

// Whether the environment brings ids; once, by whoever asks first.
bool look_for_ids();

inline bool ids_differ() {
  uint32_t state = __atomic_load_n(&ckpt_ids_in_use, __ATOMIC_ACQUIRE);
  return __builtin_expect(state != kCkptOwnIds, 0) && (state == kCkptOtherIds || look_for_ids());
}

pid_t seen_by_table(pid_t kernel);
pid_t kernel_by_table(pid_t seen);

inline pid_t seen_id(pid_t kernel) { return ids_differ() ? seen_by_table(kernel) : kernel; }
inline pid_t kernel_id(pid_t seen) { return ids_differ() ? kernel_by_table(seen) : seen; }

// As kill() and waitpid() take it: below -1 it is a group.
inline pid_t kernel_target(pid_t seen) {
  return seen < -1 && seen != INT32_MIN ? -kernel_id(-seen) : kernel_id(seen);
}

// Who sent a signal, where it says so.
void see_sender(siginfo_t* info);

// How much room put_ids() needs, 0 if there is nothing to hand on, and the variable with its value, as one
// string.
size_t ids_room();
void put_ids(char* room);

// Looked up where nobody holds a lock yet: they may be called from a handler, or between fork and exec.
void find_waiting_functions();

}  // namespace ckpt::agent
