// A program that was started, plain or under ckptrun, and what it says.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "launcher/control_protocol.h"
#include "settings.h"
#include "store/checkpoint_store.h"

namespace ckpt::bench {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration);
double milliseconds(Clock::duration duration);

// Ends with its process if that still runs: killed and reaped.
class ChildRun {
 public:
  // Standard output is read here, standard error goes to `error_file`. Descriptors above 2 are not inherited.
  ChildRun(const std::vector<std::string>& command, const std::string& error_file);
  ~ChildRun();
  ChildRun(const ChildRun&) = delete;
  ChildRun& operator=(const ChildRun&) = delete;

  pid_t pid() const { return pid_; }
  Clock::time_point started() const { return started_; }

  struct Line {
    std::string text;
    Clock::time_point when;  // its end arrived
  };
  // The next line of its output that starts with `prefix`; throws Error if it ends without one, or takes ten
  // minutes.
  Line wait_for_line(std::string_view prefix);
  int wait();  // its exit status, 128 + N for signal N
  void kill();

 private:
  bool read_more(Clock::time_point deadline);
  [[noreturn]] void fail(const std::string& what) const;

  std::string name_;
  std::string error_file_;
  pid_t pid_ = 0;
  UniqueFd output_;
  std::string unread_;
  Clock::time_point arrived_;
  Clock::time_point started_;
};

// One application under ckptrun, in a store of its own.
class SupervisedRun {
 public:
  SupervisedRun(const Settings& settings, const std::string& name, const std::vector<std::string>& options,
                const std::vector<std::string>& command);
  // Resumes it.
  SupervisedRun(const Settings& settings, const std::string& name, const std::vector<std::string>& options);

  ~SupervisedRun();
  SupervisedRun(const SupervisedRun&) = delete;
  SupervisedRun& operator=(const SupervisedRun&) = delete;

  ChildRun& child() { return child_; }
  // What `ckpt checkpoint --json` prints; returns when the version is durable.
  nlohmann::json checkpoint();
  pid_t program_pid();
  bool has_version() const;
  store::VersionEntry newest_version() const;  // throws Error if there is none
  double peak_supervisor_mib() const;          // VmHWM
  std::string error_output() const;            // of ckptrun, so far
  void kill();                                 // the program; waits until ckptrun has seen that and ended
  void forget();                               // kills it and removes its versions

 private:
  std::vector<store::VersionEntry> versions() const;
  nlohmann::json ask(launcher::ControlCommand command);

  std::string store_;
  std::string name_;
  std::string error_file_;
  ChildRun child_;
};

std::string store_of(const Settings& settings);

}  // namespace ckpt::bench
