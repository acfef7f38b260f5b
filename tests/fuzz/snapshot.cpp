#include "snapshot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"

namespace ckpt::fuzz {

bool is_made_by_kernel(const engine::MapEntry& entry) {
  return entry.path.starts_with("[vvar") || entry.path == "[vdso]" || entry.path == "[vsyscall]";
}

Snapshot::Snapshot(pid_t pid, Missing missing)
    : pid_(pid), missing_(missing), mappings_(engine::read_memory_map(pid)) {
  UniqueFd pagemap = open_or_throw(fmt::format("/proc/{}/pagemap", pid), O_RDONLY);
  UniqueFd mem = open_or_throw(fmt::format("/proc/{}/mem", pid), O_RDONLY);
  for (const engine::MapEntry& entry : mappings_) {
    if (!is_made_by_kernel(entry)) copy_mapping(entry, pagemap.get(), mem.get());
  }
}

void Snapshot::copy_mapping(const engine::MapEntry& entry, int pagemap, int mem) {
  bool comes = missing_ == Missing::kComes && entry.inode == 0 && !entry.shared;
  std::array<std::uint64_t, 1024> states;
  for (std::uint64_t at = entry.start; at < entry.end;) {
    const std::size_t count = std::min<std::size_t>(states.size(), (entry.end - at) / kPageBytes);
    pread_exactly(pagemap, std::as_writable_bytes(std::span(states)).first(count * 8), at / kPageBytes * 8,
                  "pagemap");
    for (std::size_t i = 0; i < count; ++i, at += kPageBytes) {
      const bool there = (states[i] & (kernel::kPagemapPresent | kernel::kPagemapSwapped)) != 0;
      const bool of_file = (states[i] & kernel::kPagemapFileOrShared) != 0;
      if ((states[i] & kernel::kPagemapGuard) != 0)
        guards_.push_back(at);
      else if (entry.shared || (there && !of_file))
        copy_page(at, mem);
      else if (!there && comes)
        copy_missing(at);
    }
  }
}

// Behind the end of a mapped file there is nothing to read, nor would the program find anything there.
void Snapshot::copy_page(std::uint64_t address, int mem) {
  const std::size_t place = memory_.size();
  memory_.resize(place + kPageBytes);
  const ssize_t got = ::pread(mem, memory_.data() + place, kPageBytes, static_cast<off_t>(address));
  if (got == kPageBytes) {
    pages_.push_back({.address = address, .place = place});
    return;
  }
  if (got < 0 && errno != EIO && errno != EFAULT) throw_errno(fmt::format("read memory at {:#x}", address));
  memory_.resize(place);
}

// /proc/PID/mem does not wait for memory that comes.
void Snapshot::copy_missing(std::uint64_t address) {
  std::array<std::byte, kPageBytes> page;
  iovec local{page.data(), page.size()};
  iovec remote{reinterpret_cast<void*>(address), page.size()};  // NOLINT(performance-no-int-to-ptr): its ABI
  if (::process_vm_readv(pid_, &local, 1, &remote, 1, 0) != static_cast<ssize_t>(page.size())) {
    unknown_.push_back(address);
    return;
  }
  pages_.push_back({.address = address, .place = memory_.size()});
  memory_.insert(memory_.end(), page.begin(), page.end());
}

}  // namespace ckpt::fuzz
