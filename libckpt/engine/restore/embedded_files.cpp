#include "engine/restore/embedded_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "engine/restore/stored_file.h"

namespace ckpt::engine {
namespace {

constexpr std::int64_t kNanoseconds = 1'000'000'000;

// By its time, too, a file without a build-id is recognised.
void set_time(const image::EmbeddedFileT& file) {
  std::array<timespec, 2> times{};
  times[0].tv_nsec = UTIME_OMIT;
  times[1] = {.tv_sec = file.mtime_ns / kNanoseconds, .tv_nsec = file.mtime_ns % kNanoseconds};
  if (::utimensat(AT_FDCWD, file.path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0)
    throw_errno(fmt::format("set the time of {}", file.path));
}

void make_again(const image::EmbeddedFileT& file, const store::CheckpointReader& reader) {
  try {
    make_file({.path = file.path,
               .size = file.size,
               .space = file.space,
               .access = file.access.get(),
               .directory_access = file.directory_access.get()},
              reader);
    set_time(file);
  } catch (const std::exception& error) {
    throw Error(
        fmt::format("{} is gone, and cannot be made from the checkpoint: {}; have it made elsewhere "
                    "with --path OLD=NEW",
                    file.path, error.what()));
  }
}

}  // namespace

void make_embedded_files(const image::ProcessT& process, const store::CheckpointReader& reader,
                         std::vector<std::string>& notes) {
  std::size_t count = 0;
  std::string first;
  for (const auto& file : process.embedded_files) {
    if (::access(file->path.c_str(), F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)) continue;
    make_again(*file, reader);
    if (count++ == 0) first = file->path;
  }
  if (count == 0) return;
  notes.push_back(fmt::format("made from the checkpoint, because {} gone: {}{}",
                              count == 1 ? "it was" : "they were", first,
                              count == 1 ? "" : fmt::format(" and {} more", count - 1)));
}

}  // namespace ckpt::engine
