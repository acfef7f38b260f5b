// The engine's face towards the launcher: one supervised program, with whatever descends from it.
//
// Threading: every member is called by one and the same thread (ptrace binds a tracee to the thread that
// attached). The supervisor is the program's parent and reaps it; the engine never waits for its final exit.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/resource/lock_policy.h"
#include "engine/resource/socket_policy.h"
#include "engine/restore/path_change.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

class AgentTables;  // agent_tables.h

struct CaptureResult {
  std::vector<std::byte> image;    // for CheckpointWriter::commit
  store::CheckpointStats stats;    // engine's fields filled
  std::vector<std::string> notes;  // warnings for the user, one line each
  std::uint32_t thread_count = 0;
  std::uint32_t process_count = 1;
  std::int32_t program_pid = 0;  // as the program sees it
  OutsideHoldings holdings;
  std::vector<store::KeptVersion> kept;  // see VersionDescription
  std::vector<UniqueFd>
      files_to_sync;  // regular files open for writing, opened separately: fdatasync before commit
};

enum class AfterCapture {
  kResume,  // release the program
  kHold,    // leave it stopped; the caller ends it with end_held() or lets it go with release_held()
};

// How memory is copied; see engine/capture/capture_run.h.
enum class CopyMode {
  kAuto,     // whatever keeps the pause within its budget
  kCopy,     // while the program stands still
  kPrecopy,  // while it runs, repeatedly; what was written meanwhile while it stands still
  kFork      // from a copy-on-write snapshot, while the program runs on
};

// How unchanged pages are told from changed ones.
enum class Tracking {
  kKernel,  // userfaultfd and PAGEMAP_SCAN, or like kCompare where the kernel lacks them
  kCompare  // every page is read and compared with the digest of the version before
};

// Files with a name whose content is part of the checkpoint.
enum class CarriedFiles {
  kNone,
  kWritten,  // those that the program has open for writing, or mapped shared and writable
  kAll       // and those that it only reads, its own file and its libraries among them
};

struct CaptureOptions {
  CopyMode mode = CopyMode::kAuto;
  Tracking tracking = Tracking::kKernel;
  std::chrono::nanoseconds pause_budget = std::chrono::milliseconds(10);
  AfterCapture after = AfterCapture::kResume;
  store::Version parent = 0;  // what the writer builds on (Base::kParent); 0: nothing
  CarriedFiles files = CarriedFiles::kNone;
  std::string cpu_baseline = {};  // what the program's libc was limited to when it was started; is recorded
  // With kHold: TCP connections with the outside can go on in what is recovered, and hear nothing of the
  // program's end. Needs CAP_NET_ADMIN.
  bool keep_connections = false;
  // Called in the pause, before anything is read. What it throws is what the checkpoint fails with.
  std::function<void()> before_reading = nullptr;
  std::function<void(pid_t)> while_stopped = nullptr;  // called when everything has been read, in the pause
};

// A relative of the program was killed, or the program executed another one while it was looked at: the next
// attempt finds who is there then.
struct ProcessesChanged : Error {
  explicit ProcessesChanged(const Error& cause)
      : Error(std::string("processes ended or executed programs while the checkpoint was made (") +
                  cause.what() + "); make another",
              cause.code()) {}
};

// One checkpoint under way, as a sequence of steps. Foreground steps are short and belong to the thread that
// owns the Session; background steps are long, never touch ptrace, and may be run by any thread. Destroyed
// by the Session's thread, before the Session and the writer; destroyed early, the program runs on unharmed.
class Capture {
 public:
  enum class Next { kForeground, kBackground, kDone };
  virtual ~Capture() = default;
  virtual Next next() const = 0;
  // Runs the next step. Throws Error if the checkpoint cannot be made.
  virtual void run() = 0;
  // After kDone: what the version needs besides the pages that the writer has.
  virtual CaptureResult take_result() = 0;
};

// How memory came after a lazy restore.
struct FillReport {
  std::uint64_t faults = 0;            // how often the program had to wait for memory
  std::uint64_t pages_on_demand = 0;   // brought because of that, neighbours included
  std::uint64_t pages_prefetched = 0;  // because they were touched first after an earlier restore
  std::uint64_t pages_in_background = 0;
  std::uint64_t forks = 0;
  std::uint64_t total_us = 0;  // since the first page was missing
  std::string failure;         // not empty: a page could not be read, and the program was killed
};

class Session {
 public:
  struct State;  // session_state.h

  // A program that this process started (and is the parent of), or that restore() made.
  explicit Session(pid_t pid);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  pid_t pid() const;  // of the program that was started

  // Children of this process that it did not start are the program's from now on: descendants that have lost
  // their parent (PR_SET_CHILD_SUBREAPER).
  void adopt_orphans();

  // Begins a checkpoint. With AfterCapture::kHold the program is held from the last stop on.
  std::unique_ptr<Capture> begin_capture(store::CheckpointWriter& writer, CaptureOptions options);
  // All steps at once.
  CaptureResult capture(store::CheckpointWriter& writer, CaptureOptions options = {});
  // What the program shares with us, looked for now.
  AgentTables agent_tables() const;
  // Stops the program for a moment, so that whoever waits there for a word of its memory (FUTEX_WAIT) looks
  // at it again. Throws Error if it cannot be stopped.
  void look_again();
  // Whether the thread that runs hooks does so by itself.
  bool hooks_look_again() const;
  // The version that the last capture was for is durable: the next one may build on it.
  void committed(store::Version version);
  // Stops the program, and leaves it stopped until a capture with kHold is over, or end_held() or
  // release_held().
  void hold();
  bool holding() const;  // hold(), or a capture with kHold, has stopped the program
  void end_held();       // kills the held program
  void release_held();   // lets it run on

  // When the program has ended: processes of its that run on. Those in a pid namespace end with it.
  std::vector<pid_t> left_behind() const;

  // Blocking calls with a timeout that a stop made start over are finished by the supervisor when they are
  // due: call finish_due_calls() no later than next_deadline() (CLOCK_MONOTONIC).
  std::optional<std::chrono::steady_clock::time_point> next_deadline() const;
  void finish_due_calls();

  // Of whoever waits for all children: true if what waitpid() told of is the stop of a thread that a
  // checkpoint could not stop in time, and that has been let go now.
  static bool take_stop(pid_t tid, int status);

  // A limit of memory: the program's is discarded where a version has it, by evict(), and comes back when it
  // is touched (engine/paging/paging.h). After the start of the program, or by RestoreOptions::limited; call
  // it while this process has no other threads. Throws Error if it is not permitted.
  void limit_memory();
  static void require_limits();  // throws Error if this process may not do that, with what it takes
  bool limited() const;
  // Memory that no file stands behind, of all processes; and of this one, beyond what every run takes.
  std::uint64_t resident_bytes() const;
  // Discards about so much, in a stop if the program is not held; returns how much. Between captures.
  std::uint64_t evict(std::uint64_t bytes);
  // The version of the capture under way is durable; what is missing comes from there. By any thread.
  void serve_from(std::shared_ptr<const store::CheckpointReader> reader);

  // After a lazy restore: whether memory is still to come. Meanwhile no capture() may be made.
  bool filling() const;
  // Readable once there is something to end; -1 if there is not. With a limit: once memory was lost.
  int fill_fd() const;
  void hurry_filling();      // the rest comes as fast as it can
  FillReport end_filling();  // once fill_fd() is readable

 private:
  friend struct RestoreAccess;
  std::unique_ptr<State> state_;
};

enum class PidPolicy { kAuto, kKeep, kNamespace, kNew };

// Whether the program may run before all of its memory is there.
enum class FillPolicy { kAuto, kLazy, kEager };

struct RestoreOptions {
  PidPolicy pids = PidPolicy::kAuto;
  std::vector<std::string>* notes = nullptr;  // receives warnings for the user, if set
  // Called with the pid and what the program shares with us, right before `before_release` and on the same
  // terms.
  std::function<void(pid_t, const AgentTables&)> tell_program = nullptr;
  // Called with the program's pid when all is built and the program has not run yet. If it throws, nothing is
  // left behind.
  std::function<void(pid_t)> before_release = nullptr;
  // kAuto and kLazy: lazily where that is permitted; kAuto only if it saves time.
  FillPolicy fill = FillPolicy::kAuto;
  LockPolicy locks = LockPolicy::kFail;
  SocketPolicy sockets = {};
  // Called before anything is built; may change the policy for sockets. Without it an address that cannot be
  // had fails the restore. Errors are those of restore().
  std::function<void(const SocketNeeds&, SocketPolicy&)> look_outside = nullptr;
  std::vector<FileLockOutcome>* file_locks = nullptr;  // receives what became of file locks, if set
  // Beside others of the same version: memory that fork wipes (MADV_WIPEONFORK) is wiped.
  bool is_copy = false;
  bool limited = false;  // memory comes only when it is touched, and may be discarded again (Session::evict)
  int directory = -1;  // of the application, where it is remembered what a lazy restore touched; -1: nowhere
  // Whether files that are part of the checkpoint are put back; what that replaces is kept beside them, under
  // a name that begins with `version_name`.
  bool roll_back_files = true;
  std::string version_name = {};
  std::vector<PathChange> paths = {};  // where files are that the checkpoint knows elsewhere
  bool force_cpu = false;              // on a processor that lacks what that of the checkpoint had
};

struct RestoreTimes {
  std::uint64_t prepare_us = 0, descriptors_us = 0, mappings_us = 0, fill_us = 0, threads_us = 0,
                total_us = 0;
  // Of the processes' private memory. Shared: that a process has in common with its parent.
  std::uint64_t pages_filled = 0, pages_to_come = 0, pages_shared = 0;
};

struct Restored {
  Session session;
  pid_t namespace_init =
      0;  // a child of ours to reap, if a pid namespace was made; ends by itself after the program
  RestoreTimes times;
};

// Builds the program and sets it running. On failure everything built is killed and Error names the
// operation, the address and the errno; the checkpoint is untouched. The new process is a child of the
// caller, in its process group unless the program had made its own. The caller has no other threads.
Restored restore(std::shared_ptr<const store::CheckpointReader> reader, const RestoreOptions& options);

}  // namespace ckpt::engine
