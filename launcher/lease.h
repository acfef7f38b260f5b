// A lease is a named grant of access to something outside of the checkpoint, with all that is needed to get
// it again. What is told here are its specifications and its states; who holds which state: lease_log.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ckpt::launcher {

enum class LeaseState {
  kActive,
  kExpired,  // given back, because the program was suspended or has ended; or the program was lost with it
  kReestablished,  // granted again to a program that was recovered
  kMoved,          // likewise, by an alternate
  kLost
};

// What is done where a lease is lost: go on and tell the program (or its user), or do not resume.
enum class LeasePolicy { kNotify, kFail };

std::string_view name_of(LeaseState state);
std::string_view name_of(LeasePolicy policy);
LeaseState parse_lease_state(std::string_view text);    // throws Error
LeasePolicy parse_lease_policy(std::string_view text);  // throws Error

// --lease 'exec:NAME[,limit=DURATION]=COMMAND': a command of the user grants, renews and gives back.
struct ExecLease {
  std::string name;
  std::string command;
  std::chrono::nanoseconds limit = std::chrono::seconds(30);

  bool operator==(const ExecLease&) const = default;
};

// A port is a number or a name of services(5).
struct Endpoint {
  std::string host;
  std::string port;

  bool operator==(const Endpoint&) const = default;
};
std::string to_string(const Endpoint& endpoint);  // "db.example:5432", "[::1]:80"

// --lease 'connect:HOST:PORT[,HOST:PORT...][,send=FILE]=reconnect': the program's own connections to any of
// these places are made again, to the first of them that answers, and the content of the file is sent there.
struct ConnectLease {
  std::vector<Endpoint> places;  // at least one
  std::string send_file;         // empty: nothing is sent

  bool operator==(const ConnectLease&) const = default;
};

struct Leases {
  std::vector<ExecLease> exec;
  std::vector<ConnectLease> connect;
};

// These throw Error, naming the part that makes no sense.
ExecLease parse_exec_lease(std::string_view specification);
std::string to_string(const ExecLease& lease);  // as parse_exec_lease reads it
ConnectLease parse_connect_lease(std::string_view specification);
// The same specification, wherever it is read: a FILE that is relative is one of `directory`.
std::string absolute_specification(const std::string& specification, const std::string& directory);
// Of several commands with one name, or several connections with one first place, the last counts.
Leases parse_leases(const std::vector<std::string>& specifications);

}  // namespace ckpt::launcher
