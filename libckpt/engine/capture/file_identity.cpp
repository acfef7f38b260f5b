#include "engine/capture/file_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/unique_fd.h"

namespace ckpt::engine {
namespace {

struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};

std::vector<std::uint8_t> find_build_id(Elf* elf, const GElf_Phdr& segment) {
  std::unique_ptr<Elf_Data, void (*)(Elf_Data*)> data(
      elf_getdata_rawchunk(elf, static_cast<std::int64_t>(segment.p_offset), segment.p_filesz, ELF_T_NHDR),
      [](Elf_Data*) {});
  if (!data) return {};
  GElf_Nhdr note;
  std::size_t name_offset = 0;
  std::size_t description_offset = 0;
  for (std::size_t at = 0;
       (at = gelf_getnote(data.get(), at, &note, &name_offset, &description_offset)) != 0;) {
    const auto* bytes = static_cast<const std::uint8_t*>(data->d_buf);
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
        std::memcmp(bytes + name_offset, "GNU", 4) == 0) {
      return {bytes + description_offset, bytes + description_offset + note.n_descsz};
    }
  }
  return {};
}

std::vector<std::uint8_t> read_build_id(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd || elf_version(EV_CURRENT) == EV_NONE) return {};
  std::unique_ptr<Elf, ElfCloser> elf(elf_begin(fd.get(), ELF_C_READ, nullptr));
  std::size_t count = 0;
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF || elf_getphdrnum(elf.get(), &count) != 0) return {};
  for (std::size_t i = 0; i < count; ++i) {
    GElf_Phdr segment;
    if (gelf_getphdr(elf.get(), static_cast<int>(i), &segment) == nullptr || segment.p_type != PT_NOTE)
      continue;
    std::vector<std::uint8_t> id = find_build_id(elf.get(), segment);
    if (!id.empty()) return id;
  }
  return {};
}

}  // namespace

std::int64_t modification_time_ns(const struct stat& status) {
  return status.st_mtim.tv_sec * 1'000'000'000LL + status.st_mtim.tv_nsec;
}

std::unique_ptr<image::MappedFileT> FileIdentities::describe(const std::string& path) {
  return describe(path, PathStatuses().of(path));
}

std::unique_ptr<image::MappedFileT> FileIdentities::describe(const std::string& path, const PathStatus& now) {
  if (now.error != 0) throw_errno(fmt::format("examine mapped file {}", path), now.error);
  const struct stat& status = now.status;
  auto file = std::make_unique<image::MappedFileT>();
  file->path = path;
  file->device = status.st_dev;
  file->inode = status.st_ino;
  file->size = static_cast<std::uint64_t>(status.st_size);
  file->mtime_ns = modification_time_ns(status);
  Key key{file->device, file->inode, file->size, file->mtime_ns};
  auto known = build_ids_.find(key);
  if (known == build_ids_.end()) known = build_ids_.emplace(key, read_build_id(path)).first;
  file->build_id = known->second;
  return file;
}

bool is_carried_whole(const std::string& path) { return path.ends_with("/libckpt.so"); }

void check_identity(const image::MappedFileT& file) {
  struct stat status {};
  if (::stat(file.path.c_str(), &status) != 0) {
    throw Error(fmt::format("mapped file {} cannot be found: {}; put it back and recover again", file.path,
                            describe_errno(errno)),
                errno);
  }
  if (!file.build_id.empty()) {
    if (read_build_id(file.path) == file.build_id) return;
    throw Error(
        fmt::format("mapped file {} has another build-id than at the checkpoint; put the old file back "
                    "and recover again",
                    file.path));
  }
  if (static_cast<std::uint64_t>(status.st_size) != file.size ||
      modification_time_ns(status) != file.mtime_ns) {
    throw Error(
        fmt::format("mapped file {} has changed since the checkpoint (size or time); put the old file back "
                    "and recover again",
                    file.path));
  }
}

}  // namespace ckpt::engine
