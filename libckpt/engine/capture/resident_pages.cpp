#include "engine/capture/resident_pages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "base/error.h"
#include "base/unique_fd.h"

namespace ckpt::engine {
namespace {

std::optional<std::vector<AddressRange>> ask_object(pid_t pid, const MapEntry& entry) {
  UniqueFd object(::open(fmt::format("/proc/{}/map_files/{:x}-{:x}", pid, entry.start, entry.end).c_str(),
                         O_RDONLY | O_CLOEXEC));
  if (!object) return std::nullopt;
  std::vector<AddressRange> ranges;
  auto end_offset = static_cast<off_t>(entry.offset + entry.size_bytes());
  for (auto at = static_cast<off_t>(entry.offset); at < end_offset;) {
    off_t data = ::lseek(object.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) return std::nullopt;
    if (data >= end_offset) break;
    off_t hole = std::min(::lseek(object.get(), data, SEEK_HOLE), end_offset);
    if (hole <= data) return std::nullopt;
    ranges.push_back({entry.start + page_floor(static_cast<std::uint64_t>(data)) - entry.offset,
                      entry.start + page_ceil(static_cast<std::uint64_t>(hole)) - entry.offset});
    at = hole;
  }
  return ranges;
}

std::vector<AddressRange> ask_mincore(Tracee& tracee, const MapEntry& entry) {
  constexpr std::uint64_t kStep = Tracee::kScratchBytes * kPageSize;
  std::vector<AddressRange> ranges;
  std::vector<std::byte> resident(Tracee::kScratchBytes);
  for (std::uint64_t at = entry.start; at < entry.end; at += kStep) {
    std::uint64_t size = std::min(kStep, entry.end - at);
    std::int64_t result = tracee.remote_syscall(SYS_mincore, {at, size, tracee.scratch().value});
    if (result < 0) throw_errno(fmt::format("mincore at {:#x}", at), static_cast<int>(-result));
    std::span<std::byte> vector = std::span(resident).first(size / kPageSize);
    tracee.read(tracee.scratch(), vector);
    for (std::size_t i = 0; i < vector.size(); ++i) {
      if ((vector[i] & std::byte{1}) == std::byte{0}) continue;
      std::uint64_t page = at + i * kPageSize;
      if (!ranges.empty() && ranges.back().end == page) {
        ranges.back().end += kPageSize;
      } else {
        ranges.push_back({page, page + kPageSize});
      }
    }
  }
  return ranges;
}

}  // namespace

std::vector<AddressRange> resident_object_pages(Tracee& tracee, const MapEntry& entry,
                                                const MapFlags& flags) {
  if (auto ranges = ask_object(tracee.pid(), entry)) return *ranges;
  if (flags.swapped_bytes != 0) return {{entry.start, entry.end}};
  return ask_mincore(tracee, entry);
}

}  // namespace ckpt::engine
