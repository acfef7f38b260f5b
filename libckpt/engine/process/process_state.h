// Attributes of a process that are not memory, threads' registers or descriptors: handlers, timers, limits,
// credentials, working directory and so on. Saving and restoring side by side.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/process/credentials.h"
#include "engine/process/id_map.h"
#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

// Fills everything of a process except memory (mappings, mapped_files, space, executable_file), descriptors,
// and of its threads registers, xsave and timed_call; the threads are in the order of tracee.threads().
// Steps, so that several processes make system calls side by side. They throw Error for what cannot be
// carried over (seccomp filters, ...), naming it; FamilyGrew if it is believed to be `childless`, and is not.
class SavedProcessState {
 public:
  // All of them stay.
  SavedProcessState(Tracee& tracee, const OwnCredentials& own, bool childless, image::ProcessT& process)
      : tracee_(tracee), own_(own), childless_(childless), process_(process) {}

  // What anybody may see; by any thread, once tracee.scratch() is there.
  void look();
  // The rest, by the thread that traces it: asks what the process itself has to be asked;
  void ask();
  // waits until it has answered;
  void await() { under_way_->await(); }
  // and notes the answers.
  void finish() { under_way_->end(); }

 private:
  Tracee& tracee_;
  const OwnCredentials& own_;
  bool childless_;
  image::ProcessT& process_;
  std::vector<ProcStatus> statuses_ = {};
  std::vector<RemoteQueries> queries_ = {};
  std::optional<QueriesUnderWay> under_way_ = {};
};

// All steps at once.
void save_process_state(Tracee& tracee, bool childless, image::ProcessT& process);

// Refusals that can be known before anything is built (missing working directory, other user, limits, ...).
void check_process_state(const image::ProcessT& process, std::vector<std::string>& notes);

// In the process that becomes the program, before it executes the program file: session, group, working
// directory, umask, personality, nice, ... whatever survives execve.
void apply_before_exec(const image::ProcessT& process);

// Operations for the main thread once memory is in place and all threads exist, all signals blocked: handlers
// (SIGTRAP's excepted), timers, process-wide pending signals, dumpable, subreaper, ... Timers start to run
// here, so this comes last. `ids`: from those in the image to those that there are now, if they differ.
void plan_process_state(const image::ProcessT& process, PlanBuilder& plan, std::vector<std::string>& notes,
                        const IdMap& ids = {});

// The action of SIGTRAP, for a remote call once the restorer is done with that signal; none if it is the
// default.
std::optional<image::SignalActionT> trap_action(const image::ProcessT& process);

// Operations that each thread of `process` runs for itself: name, alternate stack, robust list, rseq,
// clear-child-tid, scheduling, credentials, parent-death signal, thread-directed pending signals. `tid` is
// the thread's id as it sees it now.
void plan_thread_state(const image::ProcessT& process, const image::ThreadT& thread, std::int32_t pid,
                       std::int32_t tid, PlanBuilder& plan, std::vector<std::string>& notes,
                       const IdMap& ids = {});

// After the plan has run, from outside: notes what the program could not set for itself. `pid` as the
// supervisor sees it.
void apply_from_outside(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes);

}  // namespace ckpt::engine
