// What the launcher remembers about an application, beside its versions. Files in STORE/NAME/, one JSON
// object each, written to a temporary name and renamed:
//   lock       held by the supervisor while it lives (run_lock.h)
//   running    the program being run: identity, supervisor, run, command. Stays behind when the supervisor is
//              killed, so that a program that outlived it is recognised; ignored once that process is gone.
//   ended      how the last run ended
//   settings   options of the run, used again by a recover that does not give them
//   copied     of which version this application's program began as a copy (--clone)
//   leases     what became of leases (lease_log.h)
//   wake       a link by which the program calls (wake_file.h)
//   control    socket of the supervisor (control_server.h)
// A file that cannot be understood counts as absent: none of them is needed to recover a version.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/session.h"
#include "launcher/choices.h"
#include "launcher/exit_codes.h"
#include "launcher/lease.h"
#include "launcher/process_identity.h"
#include "store/checkpoint_store.h"
#include "store/retention.h"

namespace ckpt::launcher {

struct RunningRecord {
  ProcessIdentity program;
  pid_t supervisor = 0;
  std::string run_id;
  std::vector<std::string> command;
  std::string working_directory;
};

struct EndRecord {
  bool suspended = false;  // else `end` says how
  ProgramEnd end;
  std::int64_t realtime_ns = 0;
  store::Version version = 0;  // that the suspend made

  // Nothing is left to resume unless a version is asked for by number.
  bool finished() const { return !suspended && !end.signalled; }
};

enum class OnTerm { kPass, kSave };

struct Settings {
  std::optional<std::chrono::nanoseconds> every;
  store::Retention keep;
  FilePolicy files = FilePolicy::kKeep;
  OnTerm on_term = OnTerm::kPass;
  int on_signal = 0;  // 0: none
  engine::CopyMode mode = engine::CopyMode::kAuto;
  std::chrono::nanoseconds pause_budget = std::chrono::milliseconds(10);
  store::WriteOptions write = {};
  std::vector<std::string> leases = {};          // as given to --lease, all of them make sense
  std::optional<LeasePolicy> lease_policy = {};  // empty: not given
  OutsideSockets sockets = OutsideSockets::kReset;
  std::string cpu_baseline = {};    // of the running program; empty: none
  std::uint64_t heap_resident = 0;  // most memory of its own that the program may have, in bytes; 0: any

  bool operator==(const Settings&) const = default;
};

std::string to_json_text(const RunningRecord& record);
std::string to_json_text(const EndRecord& record);
std::string to_json_text(const Settings& settings);
std::optional<RunningRecord> parse_running(std::string_view text);
std::optional<EndRecord> parse_ended(std::string_view text);
std::optional<Settings> parse_settings(std::string_view text);

// The files of one application. `directory` stays owned by the caller and must outlive this.
class RunState {
 public:
  explicit RunState(int directory) : directory_(directory) {}

  std::optional<RunningRecord> running() const;
  bool has_running_file() const;  // readable or not
  std::optional<EndRecord> ended() const;
  std::optional<Settings> settings() const;

  std::optional<store::Version> copied() const;

  void write_running(const RunningRecord& record) const;
  void write_ended(const EndRecord& record) const;
  void write_settings(const Settings& settings) const;
  void write_copied(store::Version version) const;
  void clear_running() const;
  void clear_ended() const;

 private:
  int directory_;
};

}  // namespace ckpt::launcher
