// What only the kernel's socket diagnostics tell about Unix sockets (sock_diag(7)); needs no privilege.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ckpt::engine::resource {

struct UnixSocketInfo {
  std::uint64_t peer = 0;              // inode of the socket that it is connected with; 0: none, or closed
  std::vector<std::uint64_t> waiting;  // of a listener: inodes of connected sockets nobody has accepted yet
  std::uint32_t file_inode = 0;        // of the file that it is bound to (low 32 bits); 0: none
  std::uint32_t shutdown = 0;          // bit 0: receives no more, bit 1: sends no more
  std::uint32_t backlog = 0;           // of a listener
};

// Nothing if there is no such socket in our network namespace. Throws Error if the kernel does not answer.
std::optional<UnixSocketInfo> unix_socket_info(std::uint64_t inode);

// Whether some socket that exists now is bound to this file, whose path is `path`.
bool is_bound_to_file(const std::string& path, const struct stat& file);

}  // namespace ckpt::engine::resource
