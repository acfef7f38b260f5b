#include "launcher/held_leases.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>
#include <vector>

namespace ckpt::launcher {
namespace {

constexpr const char* kWaits = "waits for the recover";

using Holding = std::pair<const char*, std::string>;  // kind, name

std::vector<Holding> list(const engine::OutsideHoldings& holdings) {
  std::vector<Holding> all;
  auto add = [&all](const char* kind, std::string name) {
    Holding holding(kind, std::move(name));
    if (!holding.second.empty() && std::ranges::count(all, holding) == 0) all.push_back(std::move(holding));
  };
  for (const engine::ListeningAddress& listening : holdings.sockets.listening)
    add(kListenLease, listening.address);
  for (const engine::OutsideConnection& connection : holdings.sockets.connections)
    add(kConnectLease, lease_name(connection.peer, connection.host));
  for (const engine::KeptConnection& connection : holdings.sockets.kept)
    add(kConnectLease, lease_name(connection.peer, connection.host));
  for (const std::string& path : holdings.locked_files) add(kLockLease, path);
  return all;
}

bool is_kept(const engine::OutsideHoldings& holdings, const std::string& name) {
  return std::ranges::any_of(holdings.sockets.kept, [&name](const engine::KeptConnection& connection) {
    return lease_name(connection.peer, connection.host) == name;
  });
}

bool is_automatic(const LeaseChange& change) {
  constexpr std::array<std::string_view, 3> kKinds{kListenLease, kConnectLease, kLockLease};
  return std::ranges::count(kKinds, change.kind) != 0;
}

void append(const LeaseLog& log, std::string_view kind, std::string name, LeaseState state,
            std::string detail) {
  log.append({.name = std::move(name),
              .kind = std::string(kind),
              .state = state,
              .detail = std::move(detail),
              .data = {}});
}

}  // namespace

std::string lease_name(const std::string& peer, const std::string& host) {
  bool numeric = peer.find(host) != std::string::npos;
  return numeric ? peer : fmt::format("{} ({})", peer, host);
}

bool is_held(const LeaseChange& change) {
  return change.state != LeaseState::kExpired && change.state != LeaseState::kLost;
}

bool waits_for_recover(const LeaseChange& change) {
  return change.state == LeaseState::kActive && change.detail == kWaits;
}

// One that has moved is held under the name of the place where it is now, and stays known by the one where it
// was.
void log_holdings(const LeaseLog& log, const engine::OutsideHoldings& holdings) {
  std::vector<Holding> held = list(holdings);
  std::vector<LeaseChange> known = log.states();
  for (const auto& [kind, name] : held) {
    auto last = std::ranges::find(known, name, &LeaseChange::name);
    bool waits = is_kept(holdings, name);
    bool is_news = last == known.end() || !is_held(*last) || waits;
    if (is_news) append(log, kind, name, LeaseState::kActive, waits ? kWaits : "");
  }
  for (const LeaseChange& change : known) {
    bool still = std::ranges::count(held, change.name, &Holding::second) != 0;
    if (still || !is_automatic(change) || !is_held(change) || change.state == LeaseState::kMoved) continue;
    append(log, change.kind, change.name, LeaseState::kExpired, "given up by the program");
  }
}

void log_expired(const LeaseLog& log, bool suspended) {
  for (const LeaseChange& change : log.states()) {
    bool waits = suspended && waits_for_recover(change);
    if (!is_automatic(change) || !is_held(change) || waits) continue;
    append(log, change.kind, change.name, LeaseState::kExpired,
           suspended ? "the program was suspended" : "the program has ended");
  }
}

}  // namespace ckpt::launcher
