// What a Session remembers about its program between checkpoints; shared by session.cpp and restore.cpp.
#pragma once

#include <memory>

#include "engine/capture/file_identity.h"
#include "engine/capture/page_buffer.h"
#include "engine/capture/pause_model.h"
#include "engine/capture/pause_threads.h"
#include "engine/capture/write_tracker.h"
#include "engine/restore/lazy_fill.h"
#include "engine/session.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

struct Session::State {
  // Lets the program go that has stood still since `stopped`, as if nothing had happened.
  void resume(Tracee& tracee, std::chrono::steady_clock::time_point stopped);

  pid_t pid;
  InterruptedCalls calls;
  std::vector<std::uint64_t> agent_addresses;  // of tables that came back by a restore: they have no name
  FileIdentities identities;
  std::unique_ptr<WriteTracker> tracker;
  bool can_track = true;           // false once the kernel has refused to
  AddressRanges excluded;          // left out of the last durable version
  AddressRanges excluded_in_last;  // by the last capture, durable or not
  PageBuffer buffer;
  PauseThreads threads;
  PauseModel pause;
  std::unique_ptr<Tracee> held;  // the program after capture(kHold)
  std::chrono::steady_clock::time_point held_since;
  std::unique_ptr<LazyFill> fill;  // memory that is still to come
};

// The way for restore() to hand over what it knows.
struct RestoreAccess {
  static Session::State& state(Session& session) { return *session.state_; }
};

}  // namespace ckpt::engine
