// A copy-on-write copy of a stopped program: a process that never runs an instruction, only to be read from.
//
// Made by a remote clone(CLONE_PTRACE | CLONE_FILES, exit signal 0): it is born stopped and traced by us,
// holds no descriptors of its own (or a pipe's reader would not see the end), is invisible to the program's
// wait(2), and dies with the supervisor (PTRACE_O_EXITKILL is set on the thread that makes it, and
// inherited).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "engine/capture/address_ranges.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

class Snapshot {
 public:
  // `left_out`: mappings whose pages nobody is going to read; making the copy costs less without them.
  // Returns nullptr if the process cannot be made (memory, limits): copy while the program stands still,
  // then.
  static std::unique_ptr<Snapshot> take(Tracee& tracee, const AddressRanges& left_out);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  pid_t pid() const { return pid_; }

  // Kills it. What is left is a zombie child of the program, which reap() removes in a later stop.
  void end();
  void reap(Tracee& program) const;

 private:
  Snapshot(pid_t pid, std::int64_t inner_pid) : pid_(pid), inner_pid_(inner_pid) {}

  pid_t pid_;
  std::int64_t inner_pid_;  // as the program's pid namespace knows it
  bool ended_ = false;
};

}  // namespace ckpt::engine
