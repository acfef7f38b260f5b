#include "engine/restore/mapped_file_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/capture/file_identity.h"
#include "engine/restore/stored_file.h"

namespace ckpt::engine {
namespace {

constexpr int kMostAttempts = 20;

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

// Where shm_open(3) and sem_open(3) make what they make.
bool is_named_memory(const std::string& path) {
  struct statfs filesystem {};
  return path.starts_with("/dev/shm/") && ::statfs(path.c_str(), &filesystem) == 0 &&
         filesystem.f_type == TMPFS_MAGIC;
}

StoredFile stored(const image::MappedFileT& file) {
  return {.path = file.path,
          .size = file.size,
          .space = file.content_space,
          .access = file.access.get(),
          .directory_access = file.directory_access.get()};
}

// What was made just now may be gone again: a JVM that starts deletes the files of JVMs that have ended.
UniqueFd open_or_make(const image::MappedFileT& file, int access_mode,
                      const store::CheckpointReader* reader) {
  bool can_be_made = reader != nullptr && file.content_space != 0;
  for (int attempt = 1;; ++attempt) {
    try {
      if (can_be_made && ::access(file.path.c_str(), F_OK) != 0) make_file(stored(file), *reader);
      return open_or_throw(file.path, access_mode | O_NONBLOCK);
    } catch (const Error& error) {
      if (error.code() != ENOENT || !can_be_made || attempt == kMostAttempts) throw;
    }
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

void bring_files_back(const image::ProcessT& process, const store::CheckpointReader& reader, bool is_copy) {
  for (const auto& file : process.mapped_files) {
    if (file->content_space == 0) continue;
    bool is_there = ::access(file->path.c_str(), F_OK) == 0;
    open_or_make(*file, O_RDONLY, &reader);
    if (is_there && !is_copy && is_named_memory(file->path)) put_content_back(stored(*file), reader);
  }
}

MappedFileSet::MappedFileSet(const image::ProcessT& process, int scratch_base,
                             const store::CheckpointReader* reader) {
  std::vector<Use> all = uses(process);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const image::MappedFileT& file = *process.mapped_files[i];
    UniqueFd fd = open_or_make(file, all[i].writable ? O_RDWR : O_RDONLY, reader);
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
