#include "engine/restore/restorer_file.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <span>

#include "base/error.h"
#include "base/file_io.h"

namespace ckpt::engine {
namespace {

// From the build tree (build/PRESET/bin, build/PRESET/tests/...) and from an installation (PREFIX/bin).
std::string find_restorer(const std::filesystem::path& directory) {
  for (std::filesystem::path at = directory; at != at.root_path(); at = at.parent_path()) {
    std::filesystem::path candidate = at / "libexec" / "ckpt" / "ckpt-restorer";
    std::error_code error;
    if (std::filesystem::exists(candidate, error)) return candidate;
  }
  throw Error(fmt::format("libexec/ckpt/ckpt-restorer is missing beside {}; install or build ckptrun again",
                          directory.string()));
}

bool inside(const std::string& file, std::uint64_t offset, std::uint64_t size) {
  return offset <= file.size() && size <= file.size() - offset;
}

}  // namespace

RestorerCode load_restorer() {
  return load_restorer_beside(std::filesystem::path(read_link("/proc/self/exe")).parent_path());
}

RestorerCode load_restorer_beside(const std::string& directory) {
  RestorerCode code{.path = find_restorer(directory), .bytes = {}};
  std::string file = read_file(code.path);
  Elf64_Ehdr header{};
  if (file.size() < sizeof(header) || !file.starts_with(ELFMAG))
    throw Error(fmt::format("{} is not an ELF file; install ckptrun again", code.path));
  std::memcpy(&header, file.data(), sizeof(header));
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    std::size_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
    if (!inside(file, at, sizeof(Elf64_Phdr))) break;
    Elf64_Phdr segment{};
    std::memcpy(&segment, file.data() + at, sizeof(segment));
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    if (segment.p_vaddr != 0 || !inside(file, segment.p_offset, segment.p_filesz)) break;
    if (header.e_entry >= segment.p_filesz) break;
    auto bytes = std::as_bytes(std::span(file)).subspan(segment.p_offset, segment.p_filesz);
    code.bytes.assign(bytes.begin(), bytes.end());
    code.entry_offset = header.e_entry;
    return code;
  }
  throw Error(fmt::format("{} is damaged; install ckptrun again", code.path));
}

}  // namespace ckpt::engine
