// The life of ckptrun while its program runs: one thread, one loop.
//
// Hard rules:
//  1. All engine calls are made by the thread that runs the loop (ptrace binds a tracee to the thread that
//  attached).
//  2. Never two versions at once: from begin() to the end of the commit nothing else touches the Application.
//  3. While the program is held (suspend) nothing is waited for with waitpid(): it would eat the engine's
//  ptrace stops.
//  4. Whoever asked for a checkpoint is answered when it is durable, or told why it is not.
//  5. A failed checkpoint never harms the program.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/session.h"
#include "launcher/checkpoint_job.h"
#include "launcher/control_protocol.h"
#include "launcher/control_server.h"
#include "launcher/exit_codes.h"
#include "launcher/lease_log.h"
#include "launcher/memory_limit.h"
#include "launcher/messages.h"
#include "launcher/participation.h"
#include "launcher/period.h"
#include "launcher/run_state.h"
#include "launcher/run_summary.h"
#include "launcher/signal_gate.h"
#include "launcher/wake_file.h"
#include "store/checkpoint_store.h"
#include "store/table_cache.h"

namespace ckpt::launcher {

// What the supervisor works with; all of it outlives it.
struct SupervisorParts {
  store::Application& application;
  engine::Session& session;
  SignalGate& signals;
  ControlServer& control;
  WakeFile& wake;
  Messages& messages;
};

struct SupervisorConfig {
  Settings settings;
  bool verbose = false;
  engine::Tracking tracking = engine::Tracking::kKernel;
  std::string run_id;
  std::vector<std::string> command;
  std::string working_directory;
  store::Version parent = 0;  // the version recovered; 0 for a fresh run
  store::Version shared = 0;  // the parent, if it belongs to the application that this is a copy of; else 0
};

class Supervisor {
 public:
  Supervisor(SupervisorParts parts, SupervisorConfig config);

  // Until the program has ended. Returns how; the records of the run are written.
  EndRecord run();
  // Why the program was killed, if memory of its version could not be read; else empty.
  const std::string& fill_failure() const { return fill_failure_; }
  // Likewise, if a lease of the program was lost under LeasePolicy::kFail.
  const std::string& lease_failure() const { return lease_failure_; }

 private:
  using Clock = std::chrono::steady_clock;

  // A checkpoint that is wanted or under way, and for whom.
  struct Wanted {
    bool by_period = false;
    bool by_signal = false;
    bool for_room = false;  // memory can be discarded when it is done
    bool suspend = false;
    std::vector<ClientId> clients{};
    std::vector<ProgramCall> calls{};
  };
  struct Removal {
    ClientId client;
    store::Version version;
  };

  bool over() const { return end_.has_value() && !job_.busy(); }
  bool held() const { return parts_.session.holding(); }
  void wait_for_events();
  timespec time_to_next_event() const;

  void handle_signals();
  void handle_signal(const signalfd_siginfo& info);
  void reap_children();
  void stop_with_program();

  void handle_requests();
  void handle_request(ClientId client, const std::string& line);
  std::string status_reply() const;
  void do_removals();

  void look_at_filling(int timeout_ms);
  void look_at_memory();
  void make_room(bool has_version);

  void look_at_program();
  void hear_program();
  bool program_is_ready();
  void look_at_leases(const LeaseLog& log);
  void record_leases(const std::function<void(const LeaseLog&)>& record);
  void refuse_wanted(const std::string& error, int result);
  bool waits() const { return parts_.session.filling() || deferred_ || preparing_until_.has_value(); }

  void want(Wanted more);
  void start_checkpoint();
  CheckpointOrder make_order();
  std::unique_ptr<store::CheckpointWriter> begin_version();
  void advance_checkpoint();
  bool program_is_ending() const;
  // `result`: for calls of ckpt_checkpoint().
  void checkpoint_failed(const std::string& error, int result);
  void checkpoint_deferred();
  void checkpoint_done(const store::VersionDescription& description);
  void release_held();
  void tell_clients(std::vector<ClientId>& clients, const std::string& reply);
  void report_lateness(bool late);
  void print_notes(const std::vector<std::string>& notes);

  void drop_shared_version();
  void report_left_behind();
  void wind_up();

  SupervisorParts parts_;
  SupervisorConfig config_;
  CheckpointJob job_;
  Participation participation_;
  bool deferred_ = false;                             // until the program leaves its critical sections
  std::optional<Clock::time_point> preparing_until_;  // before-hooks run in the program
  std::optional<MemoryLimit> limit_;
  std::shared_ptr<store::TableCache> tables_;  // for memory that comes back
  Period period_;
  std::optional<Wanted> wanted_;
  std::optional<Wanted> current_;
  Clock::time_point current_began_{};
  std::deque<Removal> removals_;
  store::Version last_version_;
  bool suspended_ = false;  // end_held() was called: the program's death is our doing
  std::string suspend_reply_;
  std::string last_period_failure_;  // said once, until a checkpoint succeeds or fails differently
  bool ignore_next_continue_ = false;
  std::optional<EndRecord> end_;
  RunSummary summary_;
  int late_in_a_row_ = 0;
  int changes_ = 0;
  std::string fill_failure_;
  std::string lease_failure_;
};

}  // namespace ckpt::launcher
