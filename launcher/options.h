// Command line of ckptrun.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "engine/session.h"
#include "launcher/naming.h"
#include "launcher/run_state.h"

namespace ckpt::launcher {

enum class RunMode { kRun, kRecover, kRecoverOrRun };

struct RunOptions {
  RunMode mode = RunMode::kRun;
  std::optional<std::string> store;
  std::optional<std::string> name;
  std::optional<Target> target;      // kRecover: what to resume; empty: the application checkpointed last
  std::vector<std::string> command;  // PROGRAM ARG...
  std::vector<std::string> new_arguments;  // kRecover: for the program (ckpt_args)
  std::optional<std::string> clone;        // kRecover: under this name, beside whatever runs already
  bool verbose = false;
  bool agent = true;  // preload libckpt
  engine::PidPolicy pids = engine::PidPolicy::kAuto;
  engine::FillPolicy fill = engine::FillPolicy::kAuto;
  std::vector<engine::PathChange> paths;  // kRecover
  bool force_cpu = false;                 // kRecover
  std::string cpu_baseline;               // kRun; empty: none
  std::optional<engine::LockPolicy> locks;

  // Empty where not given: a recover then uses those of the run before.
  std::optional<std::chrono::nanoseconds> every;
  std::optional<store::Retention> keep;
  std::optional<FilePolicy> files;
  std::optional<OnTerm> on_term;
  std::optional<int> on_signal;
  std::optional<engine::CopyMode> copy_mode;
  std::optional<std::chrono::nanoseconds> pause_budget;
  std::optional<store::WriteOptions> write;
  std::vector<std::string> leases;
  std::optional<LeasePolicy> lease_policy;
  std::optional<OutsideSockets> sockets;
  std::optional<std::uint64_t> heap_resident;  // 0: none
  std::uint64_t heap_size = 0;                 // kRun; 0: as much as it likes
};

// A text to print on standard output and end with success: --help, --version.
struct Information {
  std::string text;
};

struct ParsedOptions {
  RunOptions options;
  std::optional<Information> information;
};

// `arguments` without the program's own name. Throws Error.
ParsedOptions parse_run_options(const std::vector<std::string>& arguments);

// The settings of a run: those given, else `earlier`, else the defaults.
Settings merge_settings(const RunOptions& given, const std::optional<Settings>& earlier);

}  // namespace ckpt::launcher
