// The supervisor's end of the control channel. Never blocks, never trusts: a line that is too long, a client
// of another user, or one that does not read its answers is dropped.
#pragma once

#include <poll.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::launcher {

using ClientId = std::uint64_t;

class ControlServer {
 public:
  // Binds the socket in the application's directory. The caller holds the run lock, so a socket found there
  // is a dead one.
  explicit ControlServer(int directory);
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  struct Line {
    ClientId client;
    std::string text;
  };

  void add_to(std::vector<pollfd>& polled) const;
  // Accepts, reads and writes whatever is ready; returns complete lines.
  std::vector<Line> serve();
  // Removes the socket. To be called while the run lock is still held and the directory open. Clients stay
  // connected until destruction, which tells them that all is over.
  void withdraw();
  // To a client that may be gone by now.
  void send(ClientId client, const std::string& reply);

 private:
  struct Client {
    UniqueFd socket;
    std::string input;
    std::string output;
  };

  void accept_clients();
  bool read_from(ClientId id, Client& client, std::vector<Line>& lines);
  static bool flush(Client& client);

  int directory_;
  UniqueFd listener_;
  std::map<ClientId, Client> clients_;
  ClientId next_id_ = 1;
};

}  // namespace ckpt::launcher
