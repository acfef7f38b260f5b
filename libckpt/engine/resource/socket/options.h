// Options of sockets: what the program set is told by comparing with a new socket of the same sort.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "base/unique_fd.h"
#include "image_generated.h"

namespace ckpt::engine::resource {

// Newer than the headers.
inline constexpr int kBufferLocks = 72;     // SO_BUF_LOCK, Linux 5.16
inline constexpr int kLocalPortRange = 51;  // IP_LOCAL_PORT_RANGE, Linux 6.3
inline constexpr int kSolNetlink = 270;     // SOL_NETLINK

// The three arguments of socket(2).
struct SocketSort {
  int family;
  int type;  // SOCK_STREAM, ... without flags
  int protocol;

  friend bool operator<(const SocketSort& left, const SocketSort& right) {
    return std::tie(left.family, left.type, left.protocol) <
           std::tie(right.family, right.type, right.protocol);
  }
};

SocketSort sort_of(int fd);
std::string describe_sort(const SocketSort& sort);  // "TCP socket"

// A new socket, close-on-exec and non-blocking.
UniqueFd make_socket(const SocketSort& sort);

int int_option(int fd, int level, int name);
void set_int_option(int fd, int level, int name, int value);

using SocketOptions = std::vector<std::unique_ptr<image::SocketOptionT>>;

// Values that options of new sockets have, read once for each sort.
class SocketDefaults {
 public:
  using Values = std::vector<std::vector<std::uint8_t>>;  // parallel to the table of options
  const Values& of(const SocketSort& sort);

 private:
  std::map<SocketSort, Values> values_;
};

// The options of `fd` in which it differs from a new socket. `connected`: those that the kernel changes when
// it connects are left out. `notes` learns of what the kernel does not tell.
SocketOptions save_options(int fd, const SocketSort& sort, bool connected, SocketDefaults& defaults,
                           std::vector<std::string>& notes);

// Sets them; the result names those that could not be set (by lack of privilege, or another kernel).
std::vector<std::string> set_options(int fd, const SocketOptions& options);

// The saved value of an int option, or `otherwise`.
int saved_option(const SocketOptions& options, int level, int name, int otherwise);

}  // namespace ckpt::engine::resource
