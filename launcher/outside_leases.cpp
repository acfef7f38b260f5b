#include "launcher/outside_leases.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "launcher/held_leases.h"
#include "launcher/reconnect.h"

namespace ckpt::launcher {
namespace {

constexpr std::chrono::seconds kEndedConnectionsStay(65);  // TIME_WAIT is 60
constexpr std::chrono::milliseconds kTrialPeriod(100);

// They are blocked while a program is recovered.
bool is_asked_to_end() {
  sigset_t pending{};
  ::sigpending(&pending);
  return std::ranges::any_of(std::array{SIGINT, SIGTERM, SIGHUP, SIGQUIT},
                             [&](int signal) { return ::sigismember(&pending, signal) == 1; });
}

std::string describe(const engine::LostAddress& lost) {
  return fmt::format("descriptor {}: a {} cannot be bound to {} again: {}", lost.descriptor, lost.what,
                     lost.address, describe_errno(lost.error));
}

template <typename Connection>
std::string name_of(const Connection& connection) {
  return lease_name(connection.peer, connection.host);
}

}  // namespace

OutsideLeases::OutsideLeases(std::vector<ConnectLease> leases, std::optional<LeasePolicy> policy,
                             KeptPolicy kept, int directory, Messages& messages)
    : leases_(std::move(leases)),
      policy_(policy),
      kept_policy_(std::move(kept)),
      log_(directory),
      messages_(messages) {}

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

bool OutsideLeases::comes_back(const engine::LostAddress& lost) {
  if (!lost.try_again) return false;
  messages_.line(fmt::format("waiting up to a minute for {}: connections that have just ended still keep it",
                             lost.address));
  auto deadline = std::chrono::steady_clock::now() + kEndedConnectionsStay;
  while (lost.try_again() != 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    if (is_asked_to_end()) throw Error(fmt::format("a signal ended the wait for {}", lost.address));
    std::this_thread::sleep_for(kTrialPeriod);
  }
  return true;
}

void OutsideLeases::look_at_addresses(const engine::SocketNeeds& needs) {
  std::vector<std::string> problems;
  for (const engine::LostAddress& lost : needs.lost_addresses) {
    if (comes_back(lost)) continue;
    problems.push_back(describe(lost));
    decided_.lost_addresses.insert(lost.inode);
    note(lost.address, kListenLease, LeaseState::kLost, describe_errno(lost.error));
  }
  for (const engine::ListeningAddress& listening : needs.listening) {
    if (!decided_.lost_addresses.contains(listening.inode))
      note(listening.address, kListenLease, LeaseState::kReestablished, {});
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
    note(name_of(connection), kConnectLease, first ? LeaseState::kReestablished : LeaseState::kMoved,
         to_string(place));
    return {};
  }
  return fmt::format("{}", fmt::join(failures, ", "));
}

std::string OutsideLeases::revive(const engine::KeptConnection& connection) try {
  if (!kept_policy_.obstacle.empty()) return kept_policy_.obstacle;
  revived_.emplace_back(*connection.socket, kept_policy_.since_checkpoint_ms);
  decided_.reconnected[connection.inode] = revived_.back().fd();
  return {};
} catch (const Error& error) {
  return error.what();
}

// One that cannot go on may still be made again by a lease.
void OutsideLeases::look_at_kept(const engine::KeptConnection& connection, bool made_by_program) {
  std::string why = revive(connection);
  if (why.empty()) return note(name_of(connection), kConnectLease, LeaseState::kReestablished, "it went on");
  std::string message = fmt::format("the connection with {} cannot go on: {}", name_of(connection), why);
  if (policy_ == LeasePolicy::kFail)
    throw Error(fmt::format("{}; use --lease-policy notify to go on without it", message));
  messages_.line(message);
  if (!made_by_program) note(name_of(connection), kConnectLease, LeaseState::kLost, why);
  not_revived_[connection.inode] = std::move(why);
}

void OutsideLeases::look_at_connection(const engine::OutsideConnection& connection) {
  if (decided_.reconnected.contains(connection.inode)) return;
  const ConnectLease* lease = lease_for(connection);
  std::string why = lease != nullptr ? connect_again(connection, *lease) : not_revived_[connection.inode];
  if (lease != nullptr && why.empty()) return;
  note(name_of(connection), kConnectLease, LeaseState::kLost, why);
  if (lease == nullptr) return;
  std::string message = fmt::format("the connection with {} is lost: {}", name_of(connection), why);
  if (policy_ == LeasePolicy::kFail)
    throw Error(fmt::format("{}; make it available, or use --lease-policy notify", message));
  messages_.line(message);
}

void OutsideLeases::look(const engine::SocketNeeds& needs, engine::SocketPolicy& sockets) {
  if (!std::exchange(looked_, true)) {
    look_at_addresses(needs);
    for (const engine::KeptConnection& connection : needs.kept) {
      auto found = std::ranges::find(needs.connections, connection.inode, &engine::OutsideConnection::inode);
      if (kept_policy_.wanted) look_at_kept(connection, found != needs.connections.end());
    }
    for (const engine::OutsideConnection& connection : needs.connections) look_at_connection(connection);
  }
  sockets.lost_addresses = decided_.lost_addresses;
  sockets.reconnected = decided_.reconnected;
}

engine::LockPolicy OutsideLeases::lock_policy(std::optional<engine::LockPolicy> given) const {
  if (given) return *given;
  return policy_ == LeasePolicy::kNotify ? engine::LockPolicy::kIgnore : engine::LockPolicy::kFail;
}

void OutsideLeases::go_on() {
  for (engine::resource::RevivedConnection& connection : revived_) connection.go_on();
}

// What the program held when the version was made ended with it, whether anybody saw that or not.
void OutsideLeases::log_with_expiry(const LeaseChange& change) const {
  std::optional<LeaseChange> before = log_.state(change.name);
  bool goes_on = before && waits_for_recover(*before) && change.state == LeaseState::kReestablished;
  if (!before || (is_held(*before) && !goes_on)) {
    LeaseChange expired = change;
    expired.state = LeaseState::kExpired;
    expired.detail = before ? "the program was lost" : "held when the version was made";
    log_.append(expired);
  }
  log_.append(change);
}

void OutsideLeases::settle() {
  connected_.clear();
  revived_.clear();
  for (engine::FileLockOutcome& lock : std::exchange(file_locks_, {})) {
    if (lock.holder.empty()) {
      note(std::move(lock.path), kLockLease, LeaseState::kReestablished, {});
    } else {
      note(std::move(lock.path), kLockLease, LeaseState::kLost, fmt::format("{} holds it", lock.holder));
    }
  }
  for (const LeaseChange& change : std::exchange(changes_, {})) log_with_expiry(change);
}

}  // namespace ckpt::launcher
