#include "engine/capture/embedded_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/capture/file_access.h"
#include "engine/capture/file_identity.h"
#include "engine/resource/object_content.h"

namespace ckpt::engine {
namespace {

class Listing {
 public:
  Listing(ObjectTable& objects, image::ProcessT& process) : objects_(objects), process_(process) {}

  // `file` has path, device, inode, size and mtime_ns.
  template <typename File>
  void add(const File& file) {
    if (!seen_.insert({file.device, file.inode}).second) return;
    auto embedded = std::make_unique<image::EmbeddedFileT>();
    embedded->path = file.path;
    embedded->device = file.device;
    embedded->inode = file.inode;
    embedded->size = file.size;
    embedded->mtime_ns = file.mtime_ns;
    embedded->space = objects_.fresh_space();
    process_.embedded_files.push_back(std::move(embedded));
  }

 private:
  ObjectTable& objects_;
  image::ProcessT& process_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

bool is_what_was_listed(int fd, const image::EmbeddedFileT& file) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && status.st_dev == file.device && status.st_ino == file.inode &&
         static_cast<std::uint64_t>(status.st_size) == file.size &&
         modification_time_ns(status) == file.mtime_ns;
}

// Looked at before and after: a file that is written meanwhile would be a mixture.
bool store_file(store::CheckpointWriter& writer, image::EmbeddedFileT& file) {
  UniqueFd fd(::open(file.path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd || !is_what_was_listed(fd.get(), file)) return false;
  file.access = access_to(file.path);
  file.directory_access = access_to(std::filesystem::path(file.path).parent_path());
  put_content(writer, {.space = file.space, .size = file.size, .name = file.path}, fd.get());
  return is_what_was_listed(fd.get(), file);
}

}  // namespace

void list_embedded_files(ObjectTable& objects, image::CheckpointT& checkpoint) {
  image::ProcessT& process = *checkpoint.process;
  Listing listing(objects, process);
  auto add_mapped = [&listing](const image::ProcessT& each) {
    for (const auto& file : each.mapped_files) {
      if (!file->written && !is_carried_whole(file->path)) listing.add(*file);
    }
  };
  add_mapped(process);
  for (const auto& relative : checkpoint.relatives) add_mapped(*relative);
  for (const auto& description : process.descriptions) {
    const image::RegularFileDetailT* detail = description->detail.AsRegularFileDetail();
    bool read_only = (description->status_flags & O_ACCMODE) == O_RDONLY;
    if (detail != nullptr && detail->object < 0 && read_only) listing.add(*detail);
  }
}

void store_embedded_files(store::CheckpointWriter& writer, image::ProcessT& process,
                          std::vector<std::string>& notes) {
  std::erase_if(process.embedded_files, [&](const std::unique_ptr<image::EmbeddedFileT>& file) {
    bool stored = false;
    std::string why = "has changed, or was replaced";
    try {
      stored = store_file(writer, *file);
    } catch (const Error& error) {
      if (error.code() == ENOSPC || error.code() == EDQUOT) throw;
      why = error.what();
    }
    if (stored) return false;
    writer.keep_only(file->space, {});
    notes.push_back(fmt::format("{} is not part of the checkpoint: {}", file->path, why));
    return true;
  });
}

}  // namespace ckpt::engine
