// Threads that were asked to stop and have not got there: in vfork, or in an uninterruptible wait, which may
// take as long as a file server is away. They stay attached, and stop when that is over; then they have to be
// let go, by the thread that attached them.
#pragma once

#include <sys/types.h>

namespace ckpt::engine {

void leave_stuck(pid_t pid, pid_t tid);

bool have_stuck_threads();
bool has_stuck_threads(pid_t pid);

// Those that have stopped, or ended, since.
void let_stuck_threads_go() noexcept;

// Whoever waits for any child takes the stops of these, too, and has to say so: nobody is told of them again.
// False if `tid`, of which waitpid() has given `status`, is none of them.
bool let_stuck_thread_go(pid_t tid, int status) noexcept;

}  // namespace ckpt::engine
