// The leases that nobody has to ask for, while the program holds them: where it listens, what it has
// connected itself with, the files that it has locked. They are found when a checkpoint is made. What becomes
// of them at a recover: outside_leases.h.
#pragma once

#include <string>

#include "engine/resource/socket_policy.h"
#include "launcher/lease_log.h"

namespace ckpt::launcher {

inline constexpr const char* kListenLease = "listen";
inline constexpr const char* kConnectLease = "connect";
inline constexpr const char* kLockLease = "lock";

// The peer, and the name that the program knows it by if that is more than the address.
std::string lease_name(const std::string& peer, const std::string& host);

// The log's state says that somebody holds it.
bool is_held(const LeaseChange& change);

// It is of a connection that a suspend has kept.
bool waits_for_recover(const LeaseChange& change);

// A checkpoint has found `holdings`: those are active, others that were are not any more. Throws Error if the
// log cannot be written.
void log_holdings(const LeaseLog& log, const engine::OutsideHoldings& holdings);

// The program has ended, and with it what it held; after a suspend but the connections that wait to go on.
void log_expired(const LeaseLog& log, bool suspended);

}  // namespace ckpt::launcher
