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
// 0: the program sees the kernel's ids. Else another number after every recover that has changed the table,
// written by the supervisor.
extern uint32_t ckpt_ids_in_use;  // NOLINT(bugprone-dynamic-static-initializers): it is not
}

namespace ckpt::agent {

// In the environment of what a program with other ids executes, for this library, which takes it out again:
// the pairs, each as 14 hexadecimal digits, eight for the seen id, six for the kernel's.
inline constexpr char kIdsVariable[] = "CKPT_IDS";

inline constexpr uint32_t kNotLooked = UINT32_MAX;

// Whether the environment brings ids; once, by whoever asks first. What ids_in_use() is then.
uint32_t look_for_ids();

inline uint32_t ids_in_use() {
  uint32_t word = __atomic_load_n(&ckpt_ids_in_use, __ATOMIC_ACQUIRE);
  return __builtin_expect(word != kNotLooked, 1) ? word : look_for_ids();
}

inline bool ids_differ() { return __builtin_expect(ids_in_use() != 0, 0); }

pid_t seen_by_table(pid_t kernel);
pid_t kernel_by_table(pid_t seen);
// A recover has come between the call and now, so that nobody knows whose id it is, the kernel's before it or
// after it: those of before are what is seen where there were no others before.
pid_t seen_across_recover(pid_t kernel);

inline pid_t seen_id(pid_t kernel) { return ids_differ() ? seen_by_table(kernel) : kernel; }
inline pid_t kernel_id(pid_t seen) { return ids_differ() ? kernel_by_table(seen) : seen; }

// What `call` gives, as the program sees it: of calls that can be repeated.
template <typename Call>
pid_t ask_for_id(const Call& call) {
  for (;;) {
    uint32_t before = ids_in_use();
    pid_t seen = seen_id(call());
    if (ids_in_use() == before) return seen;
  }
}

// The same of a call that cannot.
template <typename Call>
pid_t call_for_id(const Call& call) {
  uint32_t before = ids_in_use();
  pid_t kernel = call();
  pid_t seen = seen_id(kernel);
  // Most have waited until after the recover.
  return ids_in_use() == before ? seen : seen_across_recover(kernel);
}

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
