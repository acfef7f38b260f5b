#include "engine/capture/memory_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

iovec remote_part(AddressRange range) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): process_vm_readv's ABI
  return {reinterpret_cast<void*>(range.start), range.size_bytes()};
}

}  // namespace

MemoryReader::MemoryReader(pid_t pid) : pid_(pid) {}

std::size_t MemoryReader::read(AddressRange range, std::span<std::byte> out) {
  std::size_t wanted = std::min<std::size_t>(out.size(), range.size_bytes());
  iovec local{out.data(), wanted};
  iovec remote = remote_part({range.start, range.start + wanted});
  ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
  if (got < static_cast<ssize_t>(kPageSize) && errno != ESRCH) {
    if (!mem_) mem_ = open_or_throw(fmt::format("/proc/{}/mem", pid_), O_RDONLY);
    got = ::pread(mem_.get(), out.data(), wanted, static_cast<off_t>(range.start));
  }
  // An address space that is gone reads as the end of a file.
  if (got == 0 || (got < 0 && errno == ESRCH))
    throw Error(fmt::format("process {} ended during the checkpoint", pid_), ESRCH);
  return page_floor(static_cast<std::uint64_t>(std::max<ssize_t>(got, 0)));
}

bool MemoryReader::read_scattered(std::span<const AddressRange> ranges, std::span<std::byte> out) const {
  std::array<iovec, kMostRanges> remote;
  std::size_t count = std::min(ranges.size(), remote.size());
  std::transform(ranges.begin(), ranges.begin() + static_cast<std::ptrdiff_t>(count), remote.begin(),
                 remote_part);
  iovec local{out.data(), out.size()};
  ssize_t got = ::process_vm_readv(pid_, &local, 1, remote.data(), count, 0);
  return count == ranges.size() && got == static_cast<ssize_t>(out.size());
}

}  // namespace ckpt::engine
