#include "launcher/outside_leases.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "launcher/reconnect.h"

namespace ckpt::launcher {
namespace {

constexpr const char* kListen = "listen";
constexpr const char* kConnect = "connect";
constexpr const char* kLock = "lock";

std::string describe(const engine::LostAddress& lost) {
  return fmt::format("descriptor {}: a {} cannot be bound to {} again: {}", lost.descriptor, lost.what,
                     lost.address, describe_errno(lost.error));
}

// With the name that the program knows it by, if that is more than the address.
std::string name_of(const engine::OutsideConnection& connection) {
  bool numeric = connection.peer.find(connection.host) != std::string::npos;
  return numeric ? connection.peer : fmt::format("{} ({})", connection.peer, connection.host);
}

}  // namespace

OutsideLeases::OutsideLeases(std::vector<ConnectLease> leases, std::optional<LeasePolicy> policy,
                             int directory, Messages& messages)
    : leases_(std::move(leases)), policy_(policy), log_(directory), messages_(messages) {}

OutsideLeases::~OutsideLeases() {
  std::erase_if(changes_, [](const LeaseChange& change) { return change.state != LeaseState::kLost; });
  try {
    settle();
  } catch (const Error& error) {
    messages_.line(error.what());
  }
}

void OutsideLeases::note(std::string name, const char* kind, LeaseState state, std::string detail) {
  changes_.push_back(
      {.name = std::move(name), .kind = kind, .state = state, .detail = std::move(detail), .data = {}});
}

void OutsideLeases::look_at_addresses(const engine::SocketNeeds& needs) {
  std::vector<std::string> problems;
  for (const engine::LostAddress& lost : needs.lost_addresses) {
    problems.push_back(describe(lost));
    decided_.lost_addresses.insert(lost.inode);
    note(lost.address, kListen, LeaseState::kLost, describe_errno(lost.error));
  }
  for (const engine::ListeningAddress& listening : needs.listening) {
    if (!decided_.lost_addresses.contains(listening.inode))
      note(listening.address, kListen, LeaseState::kReestablished, {});
  }
  if (problems.empty()) return;
  if (policy_ != LeasePolicy::kNotify) {
    throw Error(
        fmt::format("what the program had open cannot be opened again: {}; put it back as it was, recover "
                    "another version, or give up such addresses by --lease-policy notify",
                    fmt::join(problems, ", ")));
  }
  for (const std::string& problem : problems) messages_.line(fmt::format("{}; going on without it", problem));
}

const ConnectLease* OutsideLeases::lease_for(const engine::OutsideConnection& connection) const {
  auto found = std::ranges::find_if(leases_, [&connection](const ConnectLease& lease) {
    return std::ranges::any_of(lease.places,
                               [&](const Endpoint& place) { return leads_to(connection, place); });
  });
  return found == leases_.end() ? nullptr : &*found;
}

// Bytes that the program has not read cannot be put into a connection that is another one, and a program that
// waits for the rest of an answer would wait for ever: it is better told.
std::string OutsideLeases::connect_again(const engine::OutsideConnection& connection,
                                         const ConnectLease& lease) {
  if (!connection.open_both_ways) return "one end had closed it already";
  if (connection.unread_bytes != 0)
    return fmt::format("{} bytes had come that the program has not read", connection.unread_bytes);
  std::string preamble = lease.send_file.empty() ? std::string() : read_file(lease.send_file);
  std::vector<std::string> failures;
  for (const Endpoint& place : lease.places) {
    Reconnected made = reconnect(place, connection.family, preamble);
    if (!made.socket) {
      failures.push_back(made.failure);
      continue;
    }
    decided_.reconnected[connection.inode] = made.socket.get();
    connected_.push_back(std::move(made.socket));
    bool first = &place == &lease.places.front();
    note(name_of(connection), kConnect, first ? LeaseState::kReestablished : LeaseState::kMoved,
         to_string(place));
    return {};
  }
  return fmt::format("{}", fmt::join(failures, ", "));
}

void OutsideLeases::look_at_connection(const engine::OutsideConnection& connection) {
  const ConnectLease* lease = lease_for(connection);
  std::string why = lease != nullptr ? connect_again(connection, *lease) : std::string();
  if (lease != nullptr && why.empty()) return;
  note(name_of(connection), kConnect, LeaseState::kLost, why);
  if (lease == nullptr) return;
  std::string message = fmt::format("the connection with {} is lost: {}", name_of(connection), why);
  if (policy_ == LeasePolicy::kFail)
    throw Error(fmt::format("{}; make it available, or use --lease-policy notify", message));
  messages_.line(message);
}

void OutsideLeases::look(const engine::SocketNeeds& needs, engine::SocketPolicy& sockets) {
  if (!std::exchange(looked_, true)) {
    look_at_addresses(needs);
    for (const engine::OutsideConnection& connection : needs.connections) look_at_connection(connection);
  }
  sockets.lost_addresses = decided_.lost_addresses;
  sockets.reconnected = decided_.reconnected;
}

engine::LockPolicy OutsideLeases::lock_policy(std::optional<engine::LockPolicy> given) const {
  if (given) return *given;
  return policy_ == LeasePolicy::kNotify ? engine::LockPolicy::kIgnore : engine::LockPolicy::kFail;
}

void OutsideLeases::settle() {
  connected_.clear();
  for (engine::FileLockOutcome& lock : std::exchange(file_locks_, {})) {
    if (lock.holder.empty()) {
      note(std::move(lock.path), kLock, LeaseState::kReestablished, {});
    } else {
      note(std::move(lock.path), kLock, LeaseState::kLost, fmt::format("{} holds it", lock.holder));
    }
  }
  for (const LeaseChange& change : std::exchange(changes_, {})) log_.append(change);
}

}  // namespace ckpt::launcher
