#include "launcher/lease.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/duration.h"
#include "base/error.h"

namespace ckpt::launcher {
namespace {

constexpr std::array<std::string_view, 5> kStates{"active", "expired", "re-established", "moved", "lost"};
constexpr std::string_view kExec = "exec:";
constexpr std::string_view kLimit = ",limit=";
constexpr std::size_t kLongestName = 64;
constexpr std::string_view kConnect = "connect:";
constexpr std::string_view kSend = ",send=";
constexpr std::string_view kReconnect = "=reconnect";
constexpr std::string_view kExecForm = "exec:NAME[,limit=DURATION]=COMMAND";
constexpr std::string_view kConnectForm = "connect:HOST:PORT[,HOST:PORT...][,send=FILE]=reconnect";

bool is_name(std::string_view text) {
  auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !text.empty() && text.size() <= kLongestName && std::ranges::all_of(text, fits);
}

// "host:port", "[address]:port"
Endpoint parse_endpoint(std::string_view text) {
  std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return {};
  std::string_view host = text.substr(0, colon);
  bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find(':') != std::string_view::npos) return {};
  return {.host = std::string(host), .port = std::string(text.substr(colon + 1))};
}

// In place of an earlier one that is about the same thing.
template <typename Lease, typename Same>
void put(std::vector<Lease>& leases, Lease lease, Same same) {
  std::erase_if(leases, [&](const Lease& earlier) { return same(earlier, lease); });
  leases.push_back(std::move(lease));
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

ExecLease parse_exec_lease(std::string_view specification) {
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
                            specification, kExecForm, kLongestName));
  }
  lease.name = name;
  lease.command = rest.substr(1);
  return lease;
}

std::string to_string(const ExecLease& lease) {
  return fmt::format("{}{}{}{}={}", kExec, lease.name, kLimit, format_duration(lease.limit), lease.command);
}

std::string to_string(const Endpoint& endpoint) {
  bool bracketed = endpoint.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", bracketed ? "[" : "", endpoint.host, bracketed ? "]" : "", endpoint.port);
}

ConnectLease parse_connect_lease(std::string_view specification) {
  std::string_view rest = specification.substr(kConnect.size());
  bool complete = rest.ends_with(kReconnect);
  if (complete) rest.remove_suffix(kReconnect.size());
  ConnectLease lease;
  if (std::size_t send = rest.find(kSend); send != std::string_view::npos) {
    lease.send_file = rest.substr(send + kSend.size());
    complete = complete && !lease.send_file.empty();
    rest = rest.substr(0, send);
  }
  for (bool more = true; more && complete;) {
    std::size_t comma = rest.find(',');
    lease.places.push_back(parse_endpoint(rest.substr(0, comma)));
    complete = !lease.places.back().host.empty() && !lease.places.back().port.empty();
    more = comma != std::string_view::npos;
    if (more) rest.remove_prefix(comma + 1);
  }
  if (!complete) throw Error(fmt::format("--lease '{}' is not {}", specification, kConnectForm));
  return lease;
}

std::string absolute_specification(const std::string& specification, const std::string& directory) {
  if (!specification.starts_with(kConnect)) return specification;
  std::string file = parse_connect_lease(specification).send_file;
  if (file.empty() || file.starts_with('/') || directory.empty()) return specification;
  std::size_t place = specification.find(kSend) + kSend.size();
  std::string absolute = (std::filesystem::path(directory) / file).lexically_normal().string();
  return std::string(specification).replace(place, file.size(), absolute);
}

Leases parse_leases(const std::vector<std::string>& specifications) {
  Leases leases;
  for (const std::string& specification : specifications) {
    if (specification.starts_with(kExec)) {
      put(leases.exec, parse_exec_lease(specification),
          [](const ExecLease& a, const ExecLease& b) { return a.name == b.name; });
    } else if (specification.starts_with(kConnect)) {
      put(leases.connect, parse_connect_lease(specification),
          [](const ConnectLease& a, const ConnectLease& b) { return a.places[0] == b.places[0]; });
    } else {
      throw Error(
          fmt::format("--lease does not take '{}'; give {} or {}", specification, kExecForm, kConnectForm));
    }
  }
  return leases;
}

}  // namespace ckpt::launcher
