#include "engine/tracee/remote_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file_io.h"

namespace ckpt::engine {
namespace {

void* address_for_iovec(RemoteAddr address) {
  return reinterpret_cast<void*>(
      address.value);  // NOLINT(performance-no-int-to-ptr): the ABI of process_vm_readv
}

UniqueFd open_mem(pid_t pid, int flags) { return open_or_throw(fmt::format("/proc/{}/mem", pid), flags); }

}  // namespace

void read_remote(pid_t pid, RemoteAddr from, std::span<std::byte> out) {
  while (!out.empty()) {
    iovec local{out.data(), out.size()};
    iovec remote{address_for_iovec(from), out.size()};
    ssize_t got = ::process_vm_readv(pid, &local, 1, &remote, 1, 0);
    if (got <= 0) break;
    out = out.subspan(static_cast<std::size_t>(got));
    from = from + static_cast<std::uint64_t>(got);
  }
  if (out.empty()) return;
  UniqueFd mem = open_mem(pid, O_RDONLY);
  while (!out.empty()) {
    ssize_t got = ::pread(mem.get(), out.data(), out.size(), static_cast<off_t>(from.value));
    if (got <= 0) throw_errno(fmt::format("read memory of process {} at {:#x}", pid, from.value));
    out = out.subspan(static_cast<std::size_t>(got));
    from = from + static_cast<std::uint64_t>(got);
  }
}

void write_remote(pid_t pid, RemoteAddr to, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
    iovec remote{address_for_iovec(to), bytes.size()};
    ssize_t put = ::process_vm_writev(pid, &local, 1, &remote, 1, 0);
    if (put <= 0) break;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    to = to + static_cast<std::uint64_t>(put);
  }
  if (bytes.empty()) return;
  UniqueFd mem = open_mem(pid, O_RDWR);
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(mem.get(), bytes.data(), bytes.size(), static_cast<off_t>(to.value));
    if (put <= 0) throw_errno(fmt::format("write memory of process {} at {:#x}", pid, to.value));
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    to = to + static_cast<std::uint64_t>(put);
  }
}

}  // namespace ckpt::engine
