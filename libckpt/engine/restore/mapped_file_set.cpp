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

void make_file(const image::MappedFileT& file, const store::CheckpointReader& reader) {
  std::filesystem::create_directories(std::filesystem::path(file.path).parent_path());
  UniqueFd fd = open_or_throw(file.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (::ftruncate(fd.get(), static_cast<off_t>(file.size)) != 0)
    throw_errno(fmt::format("make {}", file.path));
  std::vector<std::byte> buffer(kCopyPages * store::kPageBytes);
  for (store::PageRun run : reader.runs(file.content_space)) {
    for (std::uint64_t done = 0; done < run.page_count;) {
      store::PageRun part{run.first_page + done, std::min<std::uint64_t>(kCopyPages, run.page_count - done)};
      std::span<std::byte> bytes = std::span(buffer).first(part.page_count * store::kPageBytes);
      reader.read(file.content_space, part, bytes);
      std::uint64_t offset = part.first_page * store::kPageBytes;
      std::size_t inside = std::min<std::uint64_t>(bytes.size(), file.size > offset ? file.size - offset : 0);
      pwrite_all(fd.get(), bytes.first(inside), offset, file.path);
      done += part.page_count;
    }
  }
}

}  // namespace

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

MappedFileSet::MappedFileSet(const image::ProcessT& process, const store::CheckpointReader& reader,
                             int scratch_base) {
  std::vector<Use> all = uses(process);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const image::MappedFileT& file = *process.mapped_files[i];
    if (file.content_space != 0 && ::access(file.path.c_str(), F_OK) != 0) make_file(file, reader);
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
