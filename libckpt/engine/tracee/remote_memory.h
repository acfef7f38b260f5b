#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>

#include "base/remote_addr.h"

namespace ckpt::engine {

// Memory of another process. process_vm_readv/writev first; what access bits forbid goes through
// /proc/PID/mem. Throws Error naming the address if a byte cannot be reached.
void read_remote(pid_t pid, RemoteAddr from, std::span<std::byte> out);
void write_remote(pid_t pid, RemoteAddr to, std::span<const std::byte> bytes);

}  // namespace ckpt::engine
