// Starts the program as our child: same process group, same descriptors, same environment, signals as we
// found them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::launcher {

class SignalGate;

// What the program is given besides the environment that we found.
struct ProgramEnvironment {
  std::string directory;        // of the application (agent/agent_table.h)
  std::string preload;          // the value of LD_PRELOAD; empty: as we found it
  std::string tunables;         // the value of GLIBC_TUNABLES; empty: as we found it
  bool small_pages = false;     // no transparent huge pages, of which no part can be discarded
  std::uint64_t most_data = 0;  // bytes, RLIMIT_DATA; 0: as we found it
};

// A child that was forked and waits for permission to become the program, so that its pid can be recorded
// first. Without release() (our death included) it ends by itself and never runs the program.
class PendingProgram {
 public:
  PendingProgram(const std::vector<std::string>& command, const SignalGate& signals,
                 const ProgramEnvironment& environment);
  PendingProgram(const PendingProgram&) = delete;
  PendingProgram& operator=(const PendingProgram&) = delete;
  ~PendingProgram();

  pid_t pid() const { return pid_; }

  // Lets it exec. On return the program runs; throws ExitError (126, 127) if exec failed, the child being
  // reaped.
  void release();

 private:
  void reap();

  std::string program_;
  pid_t pid_ = -1;
  UniqueFd permission_;  // we write one byte: go on
  UniqueFd failure_;     // the child writes errno of exec; end of file: exec succeeded
};

// Closes the descriptors that we inherited beyond 0, 1, 2: the program has them, and a pipe's reader shall
// see its end when the program closes it.
void close_inherited_descriptors();

// Makes sure that 0, 1 and 2 are open in this process (to /dev/null, close-on-exec), so that no file of ours
// ever takes their place.
void occupy_standard_descriptors();

}  // namespace ckpt::launcher
