// What a program that takes part in its checkpoints (ckpt.h) asks of us, and what we tell it, through the
// tables in its memory (agent/agent_table.h). A program that has none, or has just ended, asks for nothing.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/agent_tables.h"
#include "engine/session.h"
#include "launcher/lease.h"

namespace ckpt::launcher {

// A lease of the program (ckpt_lease).
struct ProgramLease {
  std::string name;
  std::string place;
  LeaseState state = LeaseState::kActive;
};

// A call of ckpt_checkpoint() that waits for its answer.
struct ProgramCall {
  engine::AgentTable table;
  std::size_t index = 0;
  bool durable = false;
};

// What a program that was recovered is told before it runs.
struct RecoverNews {
  std::string directory;  // absolute, of the application that it belongs to now
  std::vector<std::string> arguments;
};

class Participation {
 public:
  explicit Participation(engine::Session& session) : session_(session) {}

  // Looks at the program anew. The calls that came since.
  std::vector<ProgramCall> look();
  // As they are since look().
  std::vector<ProgramLease> leases() const;
  // Whether a thread is in a critical section. If so, the program is going to call when that is over, and
  // enters no new ones for a moment, until captured(), finished() or start_before_hooks().
  bool deferred() const;

  // Starts the functions for "before a checkpoint" in the program; false if there are none. Throws Error if
  // the program cannot be reached.
  bool start_before_hooks(bool suspend);
  // Empty while they run.
  std::optional<int> before_hooks_result() const;

  // In the pause of a checkpoint, when all has been read: answers those calls that do not wait for more, and
  // starts the functions for "after".
  void captured(const std::vector<ProgramCall>& calls);
  // It was put off: the functions for "after" run, and it is going to be tried again.
  void put_off();
  // Whatever is still to be answered, or started.
  void finished(const std::vector<ProgramCall>& calls, int result);

 private:
  bool start_after_hooks();
  bool permit_sections() const;
  void have_program_look();

  engine::Session& session_;
  engine::AgentTables tables_;
  bool prepared_ = false;  // before-hooks have been started, and no after-hooks since
};

// For RestoreOptions::tell_program: answers all calls with 1, starts the functions for "after a restore", and
// hands over the arguments. Throws Error if there are arguments and nobody to take them.
void tell_recovered(const engine::AgentTables& tables, const RecoverNews& news, pid_t program);

}  // namespace ckpt::launcher
