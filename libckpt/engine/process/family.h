// The processes of an application: the program that was started, what descends from it, and descendants that
// have lost their parent and were handed to the supervisor (PR_SET_CHILD_SUBREAPER) or to the first process
// of their pid namespace.
#pragma once

#include <sys/types.h>

#include <vector>

#include "base/error.h"
#include "engine/tracee/remote_queries.h"

namespace ckpt::engine {

// Where to look for them.
struct FamilyRoots {
  pid_t program = 0;
  pid_t namespace_init = 0;  // 0: none; its children have lost their parent
  pid_t guardian = 0;        // 0: none; a child of this process that is not the program's
  bool orphans = false;      // other children of this process are the program's, too
};

struct Relative {
  pid_t pid = 0;
  pid_t parent = 0;               // in the family; 0: none
  bool ended = false;             // and was not waited for
  std::int64_t start_time = 0;    // ProcStat::start_time()
  std::int64_t thread_count = 0;  // of one that has not ended
};

// Parents before their children, the program first; what runs may be missing, or gone already.
std::vector<Relative> list_family(const FamilyRoots& roots);

// Whether some have lost their parent.
bool has_orphans(const FamilyRoots& roots);

// The program has a child that it was not known to have: to be stopped again, with a look for children.
struct FamilyGrew : Error {
  FamilyGrew()
      : Error("the program has started another process while the checkpoint was made; make another") {}
};

// The query throws FamilyGrew if the process has any child, ended ones that nobody has waited for included.
void expect_no_children(RemoteQueries& queries);

// Whether there is no process with this id, or only what is left of it until it is waited for.
bool has_ended(pid_t pid);

// Likewise, or one that has no memory any more and is about to end.
bool is_ending(pid_t pid);

// Whether `error` came of looking at a process that ended meanwhile.
bool is_end_of(pid_t pid, const Error& error);

// The id of every child of `pid`, ended ones included.
std::vector<pid_t> list_children(pid_t pid);

}  // namespace ckpt::engine
