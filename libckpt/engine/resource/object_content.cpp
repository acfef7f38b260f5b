#include "engine/resource/object_content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "base/unique_fd.h"

namespace ckpt::engine {
namespace {

// Pages from `offset` to `end`, zero-padded at the end of the file. Zero pages are dropped by the store.
void put_range(store::CheckpointWriter& writer, const ContentPlace& place, int fd, std::uint64_t offset,
               std::uint64_t end) {
  std::vector<std::byte> buffer;
  for (offset = page_floor(offset); offset < end; offset += kChunkBytes) {
    std::uint64_t length = std::min(kChunkBytes, end - offset);
    buffer.assign(page_ceil(length), std::byte{0});
    pread_exactly(fd, std::span(buffer).first(length), offset, place.name);
    writer.put(place.space, offset / kPageSize, buffer);
  }
}

}  // namespace

void put_content(store::CheckpointWriter& writer, const ContentPlace& place, int fd) {
  // SEEK_DATA moves the offset, so only on a description that is surely not the program's.
  UniqueFd own(::open(fmt::format("/proc/self/fd/{}", fd).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  std::uint64_t offset = 0;
  while (own && offset < place.size) {
    off_t data = ::lseek(own.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return;  // only a hole is left
    if (data < 0) break;                     // not known to this filesystem
    off_t hole = ::lseek(own.get(), data, SEEK_HOLE);
    if (hole < 0) throw_errno(fmt::format("find the end of data in {}", place.name));
    std::uint64_t end = std::min(static_cast<std::uint64_t>(hole), place.size);
    put_range(writer, place, fd, static_cast<std::uint64_t>(data), end);
    offset = end;
  }
  put_range(writer, place, fd, offset, place.size);
}

}  // namespace ckpt::engine
