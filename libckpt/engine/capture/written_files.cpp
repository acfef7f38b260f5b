#include "engine/capture/written_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/capture/file_access.h"
#include "engine/resource/object_content.h"

namespace ckpt::engine {
namespace {

struct Written {
  std::string path;
  bool appended = true;
};

using WrittenFiles = std::map<std::pair<std::uint64_t, std::uint64_t>, Written>;  // by device and inode

void add_descriptions(const image::ProcessT& process, WrittenFiles& files) {
  for (const auto& description : process.descriptions) {
    const image::RegularFileDetailT* detail = description->detail.AsRegularFileDetail();
    auto access = static_cast<int>(description->status_flags & O_ACCMODE);
    if (detail == nullptr || detail->object >= 0 || (access != O_WRONLY && access != O_RDWR)) continue;
    Written& file = files[{detail->device, detail->inode}];
    file.path = detail->path;
    file.appended &= (description->status_flags & O_APPEND) != 0;
  }
}

void add_mappings(const image::ProcessT& process, WrittenFiles& files) {
  for (const auto& mapped : process.mapped_files) {
    if (!mapped->written) continue;
    Written& file = files[{mapped->device, mapped->inode}];
    file.path = mapped->path;
    file.appended = false;
  }
}

std::vector<std::string> siblings_of(const std::filesystem::path& path) {
  std::vector<std::string> names;
  std::string own = path.filename();
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path.parent_path(), error), end; !error && entry != end;
       entry.increment(error)) {
    std::string name = entry->path().filename();
    if (name.size() > own.size() && name.starts_with(own)) names.push_back(std::move(name));
  }
  return names;
}

// None, with a note, if it is not to be had.
std::unique_ptr<image::WrittenFileT> save_file(SaveContext& context, const WrittenFiles::value_type& file) {
  const auto& [identity, written] = file;
  UniqueFd fd(::open(written.path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  bool is_it = fd && ::fstat(fd.get(), &status) == 0 && status.st_dev == identity.first &&
               status.st_ino == identity.second;
  if (!is_it) {
    context.notes.push_back(
        fmt::format("{} cannot be read, so a recover will not put it back as it was", written.path));
    return nullptr;
  }
  auto saved = std::make_unique<image::WrittenFileT>();
  saved->path = written.path;
  saved->size = static_cast<std::uint64_t>(status.st_size);
  saved->mtime_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  saved->appended = written.appended;
  if (written.appended) return saved;
  saved->access = access_to(written.path);
  saved->directory_access = access_to(std::filesystem::path(written.path).parent_path());
  saved->siblings = siblings_of(written.path);
  saved->space = context.objects.fresh_space();
  put_content(context.writer, {.space = saved->space, .size = saved->size, .name = saved->path}, fd.get());
  return saved;
}

}  // namespace

void save_written_files(SaveContext& context, image::CheckpointT& checkpoint) {
  image::ProcessT& process = *checkpoint.process;
  WrittenFiles files;
  add_descriptions(process, files);
  add_mappings(process, files);
  for (const auto& relative : checkpoint.relatives) add_mappings(*relative, files);
  for (const auto& file : files) {
    if (auto saved = save_file(context, file)) process.written_files.push_back(std::move(saved));
  }
}

}  // namespace ckpt::engine
