#include "engine/resource/regular_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/error.h"
#include "engine/resource/open_for_copy.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::string_view kDeletedSuffix = " (deleted)";

bool matches(const SaveState&, const OpenDescription& description) {
  return S_ISREG(description.status.st_mode) && description.link.starts_with('/');
}

// The path that leads to this very file; a name may well end in " (deleted)".
bool has_its_name(const OpenDescription& description) {
  struct stat named {};
  return ::stat(description.link.c_str(), &named) == 0 && named.st_dev == description.status.st_dev &&
         named.st_ino == description.status.st_ino;
}

std::string former_path(const std::string& link) {
  return link.ends_with(kDeletedSuffix) ? link.substr(0, link.size() - kDeletedSuffix.size()) : link;
}

std::int64_t mtime_ns(const struct stat& status) {
  return status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
}

// A description of our own: an error of writing back is reported once per description, and the program's own
// fsync must not miss it.
void add_to_sync(SaveState& state, const OpenDescription& description) {
  if (description.access_mode() != O_WRONLY && description.access_mode() != O_RDWR) return;
  if (!state.together.files_synced.insert({description.status.st_dev, description.status.st_ino}).second)
    return;
  UniqueFd own = open_own(description, O_RDONLY);
  if (!own) own = open_own(description, O_WRONLY);
  if (own) {
    state.context.files_to_sync.push_back(std::move(own));
  } else {
    state.context.notes.push_back(fmt::format(
        "{} may not be opened separately; it is not synced with the checkpoint", description.what()));
  }
}

// Its permissions may have changed since the program opened it.
void refuse_closed_to_us(const OpenDescription& description) {
  if (access_error(description.link, description.flags) != EACCES) return;
  throw Error(
      fmt::format("{} may not be opened again as the program has it, its permissions forbid that; change "
                  "them, or close it before the checkpoint",
                  description.what()));
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::RegularFileDetailT detail;
  detail.device = description.status.st_dev;
  detail.inode = description.status.st_ino;
  detail.size = static_cast<std::uint64_t>(description.status.st_size);
  detail.mtime_ns = mtime_ns(description.status);
  if (has_its_name(description)) {
    refuse_closed_to_us(description);
    detail.path = description.link;
    add_to_sync(state, description);
    return as_detail(std::move(detail));
  }
  detail.path = former_path(description.link);
  UniqueFd content = open_for_copy(description);
  detail.object = save_object(state.context, image::ObjectKind::DeletedFile, content.get(), detail.path);
  if (description.status.st_nlink > 0) {
    state.context.notes.push_back(
        fmt::format("descriptor {}: {} was replaced or moved since it was opened; the checkpoint keeps the "
                    "content that is open",
                    description.number(), detail.path));
  }
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT& description) {
  const image::RegularFileDetailT& detail = *description.detail.AsRegularFileDetail();
  if (detail.object >= 0) return {};
  struct stat now {};
  if (::stat(detail.path.c_str(), &now) == 0) {
    if (!S_ISREG(now.st_mode)) return fmt::format("{} is no longer a regular file", detail.path);
    auto offset = static_cast<std::uint64_t>(description.offset);
    if (static_cast<std::uint64_t>(now.st_size) < offset && detail.size >= offset) {
      return fmt::format("{} has {} bytes, fewer than the program's position {}", detail.path, now.st_size,
                         offset);
    }
  }
  return access_problem(detail.path, description);
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::RegularFileDetailT& detail = *description.detail.AsRegularFileDetail();
  UniqueFd fd = detail.object < 0 ? open_again(detail.path, description)
                                  : reopen_own(object_descriptor(state.objects, detail.object), description);
  seek_to_saved_offset(fd.get(), description, detail.path);
  return fd;
}

}  // namespace

const ResourceKind kRegularFile{
    "regular file", image::DescriptionDetail::RegularFileDetail, kAllSettableFlags, matches, save, check,
    restore};

}  // namespace ckpt::engine::resource
