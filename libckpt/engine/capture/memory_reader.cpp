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
#include "base/kernel_abi.h"
#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

iovec remote_part(AddressRange range) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): process_vm_readv's ABI
  return {reinterpret_cast<void*>(range.start), range.size_bytes()};
}

// Entries of /proc/PID/pagemap, read a window at a time.
class PagemapWindow {
 public:
  explicit PagemapWindow(int pagemap) : pagemap_(pagemap) {}

  bool is_in_common(std::uint64_t address) {
    if (address < start_ || address >= start_ + count_ * kPageSize) read(address);
    std::uint64_t entry = count_ == 0 ? 0 : entries_[(address - start_) / kPageSize];
    bool content = (entry & (kernel::kPagemapPresent | kernel::kPagemapSwapped)) != 0;
    return content && (entry & (kernel::kPagemapFileOrShared | kernel::kPagemapExclusive)) == 0;
  }

 private:
  // What cannot be told is found out by who reads the page.
  void read(std::uint64_t address) {
    start_ = address;
    ssize_t got =
        ::pread(pagemap_, entries_.data(), sizeof(entries_), static_cast<off_t>(address / kPageSize * 8));
    count_ = got > 0 ? static_cast<std::size_t>(got) / 8 : 0;
  }

  int pagemap_;
  std::uint64_t start_ = 0;
  std::size_t count_ = 0;
  std::array<std::uint64_t, 512> entries_;
};

// The pages at the beginning of `range` of which all are in common, or none is.
AddressRange first_alike(AddressRange range, PagemapWindow& pages) {
  bool in_common = pages.is_in_common(range.start);
  std::uint64_t end = range.start + kPageSize;
  while (end < range.end && pages.is_in_common(end) == in_common) end += kPageSize;
  return {range.start, std::min(end, range.end)};
}

}  // namespace

MemoryReader::MemoryReader(pid_t pid, PagesInCommon in_common) : pid_(pid) {
  if (in_common == PagesInCommon::kNone) return;
  mem_ = open_or_throw(fmt::format("/proc/{}/mem", pid_), O_RDONLY);
  pagemap_ = open_or_throw(fmt::format("/proc/{}/pagemap", pid_), O_RDONLY);
}

std::size_t MemoryReader::read(AddressRange range, std::span<std::byte> out) {
  std::size_t wanted = std::min<std::size_t>(out.size(), range.size_bytes());
  bool in_common = false;
  if (pagemap_ && wanted > 0) {
    PagemapWindow pages(pagemap_.get());
    wanted = first_alike({range.start, range.start + wanted}, pages).size_bytes();
    in_common = pages.is_in_common(range.start);
  }
  iovec local{out.data(), wanted};
  iovec remote = remote_part({range.start, range.start + wanted});
  ssize_t got = in_common ? 0 : ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
  if (in_common || (got < static_cast<ssize_t>(kPageSize) && errno != ESRCH)) {
    if (!mem_) mem_ = open_or_throw(fmt::format("/proc/{}/mem", pid_), O_RDONLY);
    got = ::pread(mem_.get(), out.data(), wanted, static_cast<off_t>(range.start));
  }
  // An address space that is gone reads as the end of a file.
  if (got == 0 || (got < 0 && errno == ESRCH))
    throw Error(fmt::format("process {} ended during the checkpoint", pid_), ESRCH);
  return page_floor(static_cast<std::uint64_t>(std::max<ssize_t>(got, 0)));
}

bool MemoryReader::any_in_common(std::span<const AddressRange> ranges) const {
  PagemapWindow pages(pagemap_.get());
  return std::ranges::any_of(ranges, [&pages](AddressRange range) {
    return pages.is_in_common(range.start) || first_alike(range, pages) != range;
  });
}

bool MemoryReader::read_each(std::span<const AddressRange> ranges, std::span<std::byte> out) const {
  for (const AddressRange& range : ranges) {
    std::size_t size = range.size_bytes();
    if (::pread(mem_.get(), out.data(), size, static_cast<off_t>(range.start)) != static_cast<ssize_t>(size))
      return false;
    out = out.subspan(size);
  }
  return true;
}

bool MemoryReader::read_scattered(std::span<const AddressRange> ranges, std::span<std::byte> out) const {
  if (pagemap_ && any_in_common(ranges)) return read_each(ranges, out);
  std::array<iovec, kMostRanges> remote;
  std::size_t count = std::min(ranges.size(), remote.size());
  std::transform(ranges.begin(), ranges.begin() + static_cast<std::ptrdiff_t>(count), remote.begin(),
                 remote_part);
  iovec local{out.data(), out.size()};
  ssize_t got = ::process_vm_readv(pid_, &local, 1, remote.data(), count, 0);
  return count == ranges.size() && got == static_cast<ssize_t>(out.size());
}

}  // namespace ckpt::engine
