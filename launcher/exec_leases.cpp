#include "launcher/exec_leases.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "launcher/timed_command.h"

namespace ckpt::launcher {
namespace {

constexpr const char* kKind = "exec";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

std::string last_line(const std::string& text) {
  std::vector<std::string> lines = lines_of(text);
  return lines.empty() ? std::string() : lines.back();
}

std::string failure_of(const CommandOutcome& outcome, const ExecLease& lease) {
  if (outcome.timed_out)
    return fmt::format("its command was not done within {} s",
                       std::chrono::duration<double>(lease.limit).count());
  std::string said = last_line(outcome.errors);
  return fmt::format("its command exited with {}{}{}", outcome.status, said.empty() ? "" : ": ", said);
}

}  // namespace

ExecLeases::ExecLeases(std::vector<ExecLease> leases, LeasePolicy policy, std::string application,
                       int directory, const SignalGate& signals, Messages& messages)
    : leases_(std::move(leases)),
      policy_(policy),
      application_(std::move(application)),
      log_(directory),
      signals_(signals),
      messages_(messages) {}

ExecLeases::~ExecLeases() {
  try {
    expire();
  } catch (const std::exception& error) {
    messages_.line(error.what());
  }
}

std::string ExecLeases::run(const ExecLease& lease, const char* event, LeaseState state) {
  std::optional<LeaseChange> before = log_.state(lease.name);
  CommandOutcome outcome = run_command(lease.command,
                                       {{"CKPT_LEASE_EVENT", event},
                                        {"CKPT_LEASE_NAME", lease.name},
                                        {"CKPT_LEASE_APPLICATION", application_},
                                        {"CKPT_LEASE_DATA", before ? before->data : std::string()}},
                                       lease.limit, signals_);
  for (const std::string& line : lines_of(outcome.errors))
    messages_.line(fmt::format("lease {}: {}", lease.name, line));
  std::string data = last_line(outcome.output);
  if (data.empty() && before) data = before->data;
  if (!outcome.succeeded()) return failure_of(outcome, lease);
  log_.append({.name = lease.name, .kind = kKind, .state = state, .detail = {}, .data = data});
  return {};
}

void ExecLeases::lose(const ExecLease& lease, const std::string& why) {
  std::optional<LeaseChange> before = log_.state(lease.name);
  log_.append({.name = lease.name,
               .kind = kKind,
               .state = LeaseState::kLost,
               .detail = why,
               .data = before ? before->data : std::string()});
  messages_.line(fmt::format("lease {} is lost: {}", lease.name, why));
  CommandEnvironment environment{{"CKPT_LEASE_EVENT", "lost"},
                                 {"CKPT_LEASE_NAME", lease.name},
                                 {"CKPT_LEASE_APPLICATION", application_},
                                 {"CKPT_LEASE_DATA", before ? before->data : std::string()}};
  run_command(lease.command, environment, lease.limit, signals_);
}

void ExecLeases::acquire(const char* event, LeaseState state) {
  for (const ExecLease& lease : leases_) {
    std::string why = run(lease, event, state);
    if (why.empty()) {
      held_.push_back(lease);
      continue;
    }
    lose(lease, why);
    if (policy_ == LeasePolicy::kFail) {
      throw Error(fmt::format("lease {} is lost: {}; make it available, or use --lease-policy notify",
                              lease.name, why));
    }
  }
}

// In the opposite order, as things that were built on each other.
void ExecLeases::expire() {
  std::vector<ExecLease> held = std::exchange(held_, {});
  for (auto lease = held.rbegin(); lease != held.rend(); ++lease) {
    std::string why = run(*lease, "expire", LeaseState::kExpired);
    if (why.empty()) continue;
    std::optional<LeaseChange> before = log_.state(lease->name);
    log_.append({.name = lease->name,
                 .kind = kKind,
                 .state = LeaseState::kExpired,
                 .detail = fmt::format("not given back: {}", why),
                 .data = before ? before->data : std::string()});
    messages_.line(fmt::format("lease {} was not given back: {}", lease->name, why));
  }
}

}  // namespace ckpt::launcher
