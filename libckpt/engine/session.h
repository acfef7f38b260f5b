// The engine's face towards the launcher: one supervised program.
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

#include "base/unique_fd.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct CaptureResult {
  std::vector<std::byte> image;    // for CheckpointWriter::commit
  store::CheckpointStats stats;    // engine's fields filled
  std::vector<std::string> notes;  // warnings for the user, one line each
  std::uint32_t thread_count = 0;
  std::uint32_t process_count = 1;
  std::int32_t program_pid = 0;  // as the program sees it
  std::vector<UniqueFd>
      files_to_sync;  // regular files open for writing, opened separately: fdatasync before commit
};

enum class AfterCapture {
  kResume,  // release the program
  kHold,    // leave it stopped; the caller ends it with end_held() or lets it go with release_held()
};

class Session {
 public:
  // A program that this process started (and is the parent of), or that restore() made.
  explicit Session(pid_t pid);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  pid_t pid() const;

  // Stops the program, writes its memory to `writer`, builds the image, and (kResume) lets it run on before
  // returning. On failure the program runs on unharmed and Error says why ("process has children: 123 (cat);
  // ...").
  CaptureResult capture(store::CheckpointWriter& writer, AfterCapture after);
  void end_held();      // kills the held program
  void release_held();  // lets it run on

  // Blocking calls with a timeout that a stop made start over are finished by the supervisor when they are
  // due: call finish_due_calls() no later than next_deadline() (CLOCK_MONOTONIC).
  std::optional<std::chrono::steady_clock::time_point> next_deadline() const;
  void finish_due_calls();

 private:
  friend struct RestoreAccess;
  struct State;
  std::unique_ptr<State> state_;
};

enum class PidPolicy { kAuto, kKeep, kNamespace, kNew };

struct RestoreOptions {
  PidPolicy pids = PidPolicy::kAuto;
  std::vector<std::string>* notes = nullptr;  // receives warnings for the user, if set
  // Called with the program's pid when all is built and the program has not run yet. If it throws, nothing is
  // left behind.
  std::function<void(pid_t)> before_release = nullptr;
};

struct RestoreTimes {
  std::uint64_t prepare_us = 0, descriptors_us = 0, mappings_us = 0, fill_us = 0, threads_us = 0,
                total_us = 0;
};

struct Restored {
  Session session;
  pid_t namespace_init =
      0;  // a child of ours to reap, if a pid namespace was made; ends by itself after the program
  RestoreTimes times;
};

// Builds the program and sets it running. On failure everything built is killed and Error names the
// operation, the address and the errno; the checkpoint is untouched. The new process is a child of the
// caller, in its process group unless the program had made its own.
Restored restore(const store::CheckpointReader& reader, const RestoreOptions& options);

}  // namespace ckpt::engine
