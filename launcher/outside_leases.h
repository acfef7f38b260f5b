// What a program that is recovered needs of the world around it, as leases that nobody has to ask for: where
// it listens, what it had connected itself with, the files that it had locked. What comes of each at a
// recover is logged. Connections come back lost, but those that a lease of the user's is about (--lease
// connect:...), which are made again before the program is built.
//
// What is lost where the user has not given --lease-policy: an address or a lock fails the recover, a
// connection does not. With `notify` nothing does, with `fail` a connection that a lease is about does, too.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/socket/tcp_repair.h"
#include "engine/session.h"
#include "launcher/lease.h"
#include "launcher/lease_log.h"
#include "launcher/messages.h"

namespace ckpt::launcher {

// Connections that the version itself has kept (--sockets keep). Only one process may ever go on with them:
// the peer counts bytes, and would take what another one says for what it has heard already.
struct KeptPolicy {
  bool wanted = false;
  std::string obstacle = {};  // why they must not go on; empty: they may
  std::int64_t since_checkpoint_ms = 0;
};

class OutsideLeases {
 public:
  // `directory`: of the application. It and `messages` outlive this.
  OutsideLeases(std::vector<ConnectLease> leases, std::optional<LeasePolicy> policy, KeptPolicy kept,
                int directory, Messages& messages);
  OutsideLeases(const OutsideLeases&) = delete;
  OutsideLeases& operator=(const OutsideLeases&) = delete;
  // Logs what is lost, if it was not settled.
  ~OutsideLeases();

  // For RestoreOptions::look_outside. Throws Error for what is lost and must not be. What it puts into
  // `sockets` stays open until settle(); a second call gives the same again.
  void look(const engine::SocketNeeds& needs, engine::SocketPolicy& sockets);
  // For RestoreOptions.
  std::vector<engine::FileLockOutcome>* file_locks() { return &file_locks_; }
  engine::LockPolicy lock_policy(std::optional<engine::LockPolicy> given) const;

  // Everything is there, and the program is about to run: kept connections speak again. Throws Error.
  void go_on();
  // The program is there: closes our copies of its connections and logs everything. Throws Error if the log
  // cannot be written.
  void settle();

 private:
  bool comes_back(const engine::LostAddress& lost);  // waits for it
  void look_at_addresses(const engine::SocketNeeds& needs);
  void look_at_kept(const engine::KeptConnection& connection, bool made_by_program);
  std::string revive(const engine::KeptConnection& connection);  // as connect_again()
  void look_at_connection(const engine::OutsideConnection& connection);
  const ConnectLease* lease_for(const engine::OutsideConnection& connection) const;
  // Empty if it succeeded; else why not.
  std::string connect_again(const engine::OutsideConnection& connection, const ConnectLease& lease);
  void log_with_expiry(const LeaseChange& change) const;
  void note(std::string name, const char* kind, LeaseState state, std::string detail);

  std::vector<ConnectLease> leases_;
  std::optional<LeasePolicy> policy_;
  KeptPolicy kept_policy_;
  LeaseLog log_;
  Messages& messages_;
  bool looked_ = false;
  std::vector<UniqueFd> connected_;
  std::vector<engine::resource::RevivedConnection> revived_;
  std::map<std::uint64_t, std::string> not_revived_;  // why, by inode
  engine::SocketPolicy decided_;
  std::vector<engine::FileLockOutcome> file_locks_;
  std::vector<LeaseChange> changes_;
};

}  // namespace ckpt::launcher
