// What a Session remembers about its processes between checkpoints; shared by session.cpp and restore.cpp.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/capture/file_identity.h"
#include "engine/capture/page_buffer.h"
#include "engine/capture/page_needs.h"
#include "engine/capture/pause_model.h"
#include "engine/capture/pause_threads.h"
#include "engine/capture/write_tracker.h"
#include "engine/keeper.h"
#include "engine/paging/paging.h"
#include "engine/process/family.h"
#include "engine/resource/socket/tcp_repair.h"
#include "engine/restore/lazy_fill.h"
#include "engine/session.h"
#include "engine/tracee/interrupted_calls.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// One of the processes.
struct ProcessState {
  // The program that was started, whose space in the store is kProcessSpace.
  explicit ProcessState(pid_t program);
  // One of its relatives. Throws Error if there is no such process.
  static std::shared_ptr<ProcessState> of_relative(pid_t pid);

  void observe_before_stop();  // nothing if it has ended
  void look_for_keeper(const AgentTables& tables);

  pid_t pid;
  std::int64_t start_time = 0;  // tells it from another process that has got its id
  store::SpaceId space;
  InterruptedCalls calls;
  std::vector<std::uint64_t> agent_addresses;  // of tables that came back by a restore: they have no name
  std::unique_ptr<WriteTracker> tracker;
  bool can_track = true;           // false once the kernel has refused to
  KeptElsewhere kept;              // as the last stop for a checkpoint found it
  std::optional<Keeper> keeper;    // the library that keeps it
  std::vector<pid_t> keepers;      // its threads, which stop last
  AddressRanges excluded;          // left out of the last durable version
  AddressRanges excluded_in_last;  // by the last capture, durable or not
  CarriedMappings carried;         // in the last durable version
  CarriedMappings carried_in_last;
};

struct StoppedProcess {
  std::shared_ptr<ProcessState> state;
  std::unique_ptr<Tracee> tracee;
  std::chrono::steady_clock::time_point since;
};

// All of them stand still. The program is the first.
struct StoppedFamily {
  std::vector<StoppedProcess> processes;
  std::vector<Relative> relatives;  // what list_family() found; empty if nobody has looked

  std::chrono::steady_clock::time_point since() const { return processes.front().since; }
  // Stops one more. `before_keepers`: called when all but the threads of its library stand still.
  void add(const std::shared_ptr<ProcessState>& state, const std::function<void()>& before_keepers = nullptr);
  // Lets all of them go as if nothing had happened.
  void resume();
  // When they are not all there yet: the calls that they were stopped in have not been put right.
  void give_up() noexcept;
};

struct Session::State {
  explicit State(pid_t pid) : roots{.program = pid} {
    processes.push_back(std::make_shared<ProcessState>(pid));
  }

  pid_t pid() const { return roots.program; }
  StoppedFamily stop_family(bool look, const std::function<void()>& before_keepers);
  void stop_members(StoppedFamily& family, bool look, const std::function<void()>& before_keepers);
  // Forgets relatives that are gone, and gets to know new ones.
  void meet(const std::vector<Relative>& relatives);
  // Stops every thread of every process; newcomers included, if `look` or there are relatives already.
  // `settle`: what is kept elsewhere goes with what the processes have in this stop.
  StoppedFamily stop(bool look, bool settle = false);
  // The held ones if they are held, which nobody holds then; else as stop().
  StoppedFamily take_stopped(bool look, bool settle = false) {
    return held ? *std::exchange(held, std::nullopt) : stop(look, settle);
  }

  FamilyRoots roots;
  std::vector<std::shared_ptr<ProcessState>> processes;  // the program first, parents before their children
  FileIdentities identities;
  PageBuffer buffer;
  PauseThreads threads;
  PauseModel pause;
  std::optional<StoppedFamily> held;                   // after capture(kHold)
  std::vector<resource::SilencedConnection> silenced;  // of the held program; before it in destruction
  std::unique_ptr<LazyFill> fill;                      // memory that is still to come
  std::unique_ptr<Paging> paging;                      // memory that is kept within a limit
};

// The way for restore() to hand over what it knows.
struct RestoreAccess {
  static Session::State& state(Session& session) { return *session.state_; }
};

}  // namespace ckpt::engine
