// What waits to be read in a socket: looked at without consuming it, and put into another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/socket/address.h"

namespace ckpt::engine::resource {

struct WaitingMessage {
  std::vector<std::uint8_t> bytes;
  SocketAddress source;               // of a datagram
  std::vector<UniqueFd> descriptors;  // sent along (Unix)
};

// Throws Error if there is data to be read out of turn (MSG_OOB): it would lose its place in the stream.
void refuse_urgent_data(int fd, const std::string& what);

// The bytes waiting in a connected TCP socket. An error that is pending stays pending.
std::vector<std::uint8_t> peek_stream(int fd);

// Likewise, once `under_way` more bytes have arrived for which the socket had no room: it is given room for a
// moment. Fewer if they do not come.
std::vector<std::uint8_t> draw_in_stream(int fd, std::size_t under_way);

// All messages waiting in a datagram or Unix socket. Descriptors sent along are duplicated into this process.
// Of a stream, each piece ends where descriptors are. An error that is pending stays pending, but hides what
// waits in a datagram socket behind it: then `error_pending` becomes true and the result is empty.
std::vector<WaitingMessage> peek_messages(int fd, bool& error_pending);

// Sends all bytes into a stream without waiting for its reader; its send buffer is enlarged where needed.
// False if it does not take them all.
bool put_stream(int fd, std::span<const std::uint8_t> bytes);

// One message with descriptors; `destination` may be empty. Throws Error if it is not taken.
void put_message(int fd, std::span<const std::uint8_t> bytes, std::span<const int> descriptors,
                 const SocketAddress& destination, const std::string& what);

}  // namespace ckpt::engine::resource
