#include "launcher/exec_leases.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt::launcher {
namespace {

constexpr const char* kKind = "exec";

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (!line.empty()) lines.emplace_back(line);
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

std::string ExecLeases::data_of(const ExecLease& lease) const {
  std::optional<LeaseChange> last = log_.state(lease.name);
  return last ? last->data : std::string();
}

CommandOutcome ExecLeases::run_for(const ExecLease& lease, const char* event, const std::string& data) const {
  return run_command(lease.command,
                     {{"CKPT_LEASE_EVENT", event},
                      {"CKPT_LEASE_NAME", lease.name},
                      {"CKPT_LEASE_APPLICATION", application_},
                      {"CKPT_LEASE_DATA", data}},
                     lease.limit, signals_);
}

std::string ExecLeases::run(const ExecLease& lease, const char* event, LeaseState state) {
  std::string data = data_of(lease);
  CommandOutcome outcome = run_for(lease, event, data);
  for (const std::string& line : lines_of(outcome.errors))
    messages_.line(fmt::format("lease {}: {}", lease.name, line));
  if (!outcome.succeeded()) return failure_of(outcome, lease);
  if (std::string said = last_line(outcome.output); !said.empty()) data = said;
  log_.append({.name = lease.name, .kind = kKind, .state = state, .detail = {}, .data = data});
  return {};
}

void ExecLeases::lose(const ExecLease& lease, const std::string& why) {
  std::string data = data_of(lease);
  log_.append({.name = lease.name, .kind = kKind, .state = LeaseState::kLost, .detail = why, .data = data});
  messages_.line(fmt::format("lease {} is lost: {}", lease.name, why));
  run_for(lease, "lost", data);
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
    log_.append({.name = lease->name,
                 .kind = kKind,
                 .state = LeaseState::kExpired,
                 .detail = fmt::format("not given back: {}", why),
                 .data = data_of(*lease)});
    messages_.line(fmt::format("lease {} was not given back: {}", lease->name, why));
  }
}

}  // namespace ckpt::launcher
