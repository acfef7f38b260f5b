// TCP connections that go on in another process: what the kernel knows of one is read from the socket, and
// put into a new one (TCP_REPAIR, linux/tcp.h; needs CAP_NET_ADMIN).
//
// Such a socket is silent: in repair mode it sends nothing, not even when it is closed, and a filter drops
// whatever arrives before it is acknowledged. The peer takes that for lost packets and sends them again.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "image_generated.h"

namespace ckpt::engine::resource {

// Throws Error, saying what is missing, if this process may not do any of this.
void require_tcp_repair();

// What keeps a connected socket from being read or silenced; empty: nothing.
std::string unfit_for_repair(int fd);

// A connection of a stopped program that is silent while this lives. Then it goes on as if nothing had been,
// unless its end was to be silent.
class SilencedConnection {
 public:
  // The socket must be fit for repair. Throws Error if it cannot be silenced; it is then as before.
  explicit SilencedConnection(UniqueFd connection);
  ~SilencedConnection();
  SilencedConnection(SilencedConnection&&) noexcept = default;
  SilencedConnection& operator=(SilencedConnection&&) = delete;

  bool is_established() const;
  // `detail.received` and `detail.kept`.
  void read(image::InetSocketDetailT& detail) const;
  // The program and this end without a word to the peer.
  void end_silently() { connection_.reset(); }

 private:
  UniqueFd connection_;
};

// A connection of a checkpoint, made again at its addresses, and silent. Destroyed before it goes on, it ends
// without a word, so that it can be made once more.
class RevivedConnection {
 public:
  // `since_checkpoint_ms`: the clock in the timestamps of packets must not go back. Throws Error.
  RevivedConnection(const image::InetSocketDetailT& detail, std::int64_t since_checkpoint_ms);

  int fd() const { return socket_.get(); }
  // Speaks again: sends what had not been sent, and asks the peer where it stands. Afterwards this may be
  // destroyed: the program has the socket, too.
  void go_on();

 private:
  UniqueFd socket_;
  std::vector<std::uint8_t> unsent_;
  int reuse_address_;
};

}  // namespace ckpt::engine::resource
