#include "launcher/lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/duration.h"
#include "base/error.h"

namespace ckpt::launcher {
namespace {

constexpr std::array<std::string_view, 5> kStates{"active", "expired", "re-established", "moved", "lost"};
constexpr std::string_view kExec = "exec:";
constexpr std::string_view kLimit = ",limit=";
constexpr std::size_t kLongestName = 64;

bool is_name(std::string_view text) {
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= kLongestName && std::ranges::all_of(text, fits);
}

}  // namespace

std::string_view name_of(LeaseState state) { return kStates.at(static_cast<std::size_t>(state)); }
std::string_view name_of(LeasePolicy policy) { return policy == LeasePolicy::kFail ? "fail" : "notify"; }

LeaseState parse_lease_state(std::string_view text) {
  auto found = std::ranges::find(kStates, text);
  if (found == kStates.end()) throw Error(fmt::format("'{}' is no state of a lease", text));
  return static_cast<LeaseState>(found - kStates.begin());
}

LeasePolicy parse_lease_policy(std::string_view text) {
  if (text == "notify") return LeasePolicy::kNotify;
  if (text == "fail") return LeasePolicy::kFail;
  throw Error(fmt::format("--lease-policy does not take '{}'; give notify or fail", text));
}

ExecLease parse_lease(std::string_view specification) {
  constexpr std::string_view kForm = "exec:NAME[,limit=DURATION]=COMMAND";
  if (!specification.starts_with(kExec))
    throw Error(fmt::format("--lease does not take '{}'; give {}", specification, kForm));
  std::string_view rest = specification.substr(kExec.size());
  ExecLease lease;
  std::string_view name = rest.substr(0, rest.find_first_of(",="));
  rest.remove_prefix(name.size());
  if (rest.starts_with(kLimit)) {
    rest.remove_prefix(kLimit.size());
    std::string_view limit = rest.substr(0, rest.find('='));
    lease.limit = parse_duration(limit);
    rest.remove_prefix(limit.size());
  }
  if (!is_name(name) || rest.size() < 2 || rest.front() != '=') {
    throw Error(fmt::format("--lease '{}' is not {}; a NAME is 1 to {} of the characters A-Z a-z 0-9 . _ -",
                            specification, kForm, kLongestName));
  }
  lease.name = name;
  lease.command = rest.substr(1);
  return lease;
}

std::string to_string(const ExecLease& lease) {
  return fmt::format("{}{}{}{}={}", kExec, lease.name, kLimit, format_duration(lease.limit), lease.command);
}

std::vector<ExecLease> parse_leases(const std::vector<std::string>& specifications) {
  std::vector<ExecLease> leases;
  for (const std::string& specification : specifications) {
    ExecLease lease = parse_lease(specification);
    std::erase_if(leases, [&lease](const ExecLease& earlier) { return earlier.name == lease.name; });
    leases.push_back(std::move(lease));
  }
  return leases;
}

}  // namespace ckpt::launcher
