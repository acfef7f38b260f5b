// The threads of a process, as /proc/PID/task shows them.
#pragma once

#include <dirent.h>
#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace ckpt {

// The directory, kept open: it stays bound to this very process. Not thread-safe.
class ThreadList {
 public:
  // Throws Error if there is no such process.
  explicit ThreadList(pid_t pid);

  // All thread ids, those of ended threads that nobody has reaped included; empty if the process is gone.
  std::vector<pid_t> ids();

  // How many ids() would return, at the cost of one fstat.
  std::size_t count() const;

  // For openat(): "TID/status" and the like. Stays owned by this object.
  int descriptor() const;

 private:
  std::unique_ptr<DIR, int (*)(DIR*)> directory_;
};

// Whether `tid` is a thread of process `pid`.
bool has_thread(pid_t pid, pid_t tid);

// ThreadList::ids() without keeping anything; empty if there is no such process.
std::vector<pid_t> list_threads(pid_t pid);

}  // namespace ckpt
