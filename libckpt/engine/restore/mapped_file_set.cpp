#include "engine/restore/mapped_file_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/capture/file_identity.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kCopyPages = 256;

struct Use {
  bool privately = false;
  bool writable = false;         // shared, from a description open for writing
  std::uint64_t end_offset = 0;  // of the part that is mapped
};

std::vector<Use> uses(const image::ProcessT& process) {
  std::vector<Use> all(process.mapped_files.size());
  for (const auto& mapping : process.mappings) {
    if (mapping->file < 0) continue;
    Use& use = all.at(static_cast<std::size_t>(mapping->file));
    use.privately |= mapping->kind == image::MappingKind::PrivateFile;
    use.writable |= mapping->kind == image::MappingKind::SharedFile && mapping->may_write;
    use.end_offset = std::max(use.end_offset, mapping->offset + (mapping->end - mapping->start));
  }
  return all;
}

void check_shared_file(const image::MappedFileT& file, const Use& use) {
  struct stat status {};
  if (::stat(file.path.c_str(), &status) != 0) {
    if (errno == ENOENT && file.content_space != 0) return;
    throw Error(fmt::format("mapped file {} cannot be found: {}; put it back and recover again", file.path,
                            describe_errno(errno)),
                errno);
  }
  std::uint64_t needed = std::min(file.size, use.end_offset);
  if (static_cast<std::uint64_t>(status.st_size) < needed) {
    throw Error(
        fmt::format("mapped file {} has {} bytes, the program had {} mapped; put it back and recover again",
                    file.path, status.st_size, needed));
  }
}

// As they were; to whom only root can give them away, so that for others a change of the owner is no error.
void restore_access(int fd, const image::FileAccessT& access, const std::string& path) {
  if (::fchown(fd, access.uid, access.gid) != 0 && errno != EPERM && errno != EINVAL)
    throw_errno(fmt::format("give {} its owner", path));
  if (::fchmod(fd, access.mode) != 0) throw_errno(fmt::format("give {} its permissions", path));
}

void make_directory(const std::filesystem::path& path, const image::FileAccessT* access) {
  std::filesystem::create_directories(path.parent_path());
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return;
    throw_errno(fmt::format("make directory {}", path.string()));
  }
  UniqueFd fd = open_or_throw(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (access != nullptr) restore_access(fd.get(), *access, path);
}

void write_content(int fd, const image::MappedFileT& file, const store::CheckpointReader& reader) {
  if (::ftruncate(fd, static_cast<off_t>(file.size)) != 0) throw_errno(fmt::format("make {}", file.path));
  std::vector<std::byte> buffer(kCopyPages * store::kPageBytes);
  for (store::PageRun run : reader.runs(file.content_space)) {
    for (std::uint64_t done = 0; done < run.page_count;) {
      store::PageRun part{run.first_page + done, std::min<std::uint64_t>(kCopyPages, run.page_count - done)};
      std::span<std::byte> bytes = std::span(buffer).first(part.page_count * store::kPageBytes);
      reader.read(file.content_space, part, bytes);
      std::uint64_t offset = part.first_page * store::kPageBytes;
      std::size_t inside = std::min<std::uint64_t>(bytes.size(), file.size > offset ? file.size - offset : 0);
      pwrite_all(fd, bytes.first(inside), offset, file.path);
      done += part.page_count;
    }
  }
}

// Under another name first: half a file must never be taken for the program's.
void make_file(const image::MappedFileT& file, const store::CheckpointReader& reader) {
  make_directory(std::filesystem::path(file.path).parent_path(), file.directory_access.get());
  std::string unfinished = file.path + ".ckpt-unfinished";
  ::unlink(unfinished.c_str());
  UniqueFd fd = open_or_throw(unfinished, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  try {
    write_content(fd.get(), file, reader);
    if (file.access) restore_access(fd.get(), *file.access, file.path);
    if (::rename(unfinished.c_str(), file.path.c_str()) != 0) throw_errno(fmt::format("make {}", file.path));
  } catch (...) {
    ::unlink(unfinished.c_str());
    throw;
  }
}

bool is_unchanged(const image::MappedFileT& file) {
  try {
    check_identity(file);
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

void detach_carried_files(image::ProcessT& process) {
  for (std::size_t i = process.mapped_files.size(); i-- > 0;) {
    if (!is_carried_whole(process.mapped_files[i]->path) || is_unchanged(*process.mapped_files[i])) continue;
    for (auto& mapping : process.mappings) {
      auto index = static_cast<std::int32_t>(i);
      if (mapping->file == index) {
        mapping->kind = image::MappingKind::Anonymous;
        mapping->file = -1;
        mapping->offset = 0;
      } else if (mapping->file > index) {
        --mapping->file;
      }
    }
    process.mapped_files.erase(process.mapped_files.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void check_mapped_files(const image::ProcessT& process) {
  std::vector<Use> all = uses(process);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const image::MappedFileT& file = *process.mapped_files[i];
    if (all[i].privately && !file.written) {
      check_identity(file);
    } else {
      check_shared_file(file, all[i]);
    }
  }
}

void make_missing_files(const image::ProcessT& process, const store::CheckpointReader& reader) {
  for (const auto& file : process.mapped_files) {
    if (file->content_space != 0 && ::access(file->path.c_str(), F_OK) != 0) make_file(*file, reader);
  }
}

MappedFileSet::MappedFileSet(const image::ProcessT& process, int scratch_base) {
  std::vector<Use> all = uses(process);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const image::MappedFileT& file = *process.mapped_files[i];
    UniqueFd fd = open_or_throw(file.path, (all[i].writable ? O_RDWR : O_RDONLY) | O_NONBLOCK);
    files_.emplace_back(::fcntl(fd.get(), F_DUPFD_CLOEXEC, scratch_base));
    if (!files_.back()) throw_errno(fmt::format("duplicate the descriptor of {}", file.path));
  }
}

std::vector<int> MappedFileSet::descriptors() const {
  std::vector<int> numbers;
  for (const UniqueFd& file : files_) numbers.push_back(file.get());
  return numbers;
}

}  // namespace ckpt::engine
