#include "launcher/agent_library.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>

#include "base/file_io.h"
#include "base/unique_fd.h"
#include "launcher/program_file.h"

namespace ckpt::launcher {
namespace {

constexpr int kDeepestInterpreter = 5;
constexpr std::string_view kKnownLinker = "/ld-linux-x86-64.so.2";
constexpr std::string_view kLibrary = "libckpt.so";

template <typename Value>
bool read_at(int file, std::uint64_t offset, Value& value) {
  return ::pread(file, &value, sizeof value, static_cast<off_t>(offset)) ==
         static_cast<ssize_t>(sizeof value);
}

std::string linker_of(int file, const Elf64_Ehdr& header) {
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    if (!read_at(file, header.e_phoff + i * sizeof segment, segment)) return {};
    if (segment.p_type != PT_INTERP) continue;
    std::array<char, 256> path{};
    if (segment.p_filesz >= path.size()) return {};
    ssize_t got = ::pread(file, path.data(), segment.p_filesz, static_cast<off_t>(segment.p_offset));
    return got > 0 ? std::string(path.data()) : std::string();
  }
  return {};
}

// From the build tree (build/PRESET/bin, build/PRESET/lib) and from an installation (PREFIX/bin,
// PREFIX/lib...).
std::string find_library() {
  std::error_code error;
  std::filesystem::path base = std::filesystem::path(read_link("/proc/self/exe")).parent_path().parent_path();
  for (const char* folder : {CKPT_LIBRARY_DIRECTORY, "lib"}) {
    std::filesystem::path candidate = base / folder / kLibrary;
    if (std::filesystem::exists(candidate, error)) return candidate.string();
  }
  return {};
}

}  // namespace

bool uses_known_linker(const std::string& program) {
  std::string path = program;
  for (int depth = 0; depth < kDeepestInterpreter; ++depth) {
    UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) return false;
    std::array<char, 256> head{};
    ssize_t got = ::pread(file.get(), head.data(), head.size(), 0);
    std::vector<std::string> words =
        interpreter_line({head.data(), got > 0 ? static_cast<std::size_t>(got) : 0});
    if (!words.empty()) {
      path = words[0];
      continue;
    }
    Elf64_Ehdr header{};
    bool known = read_at(file.get(), 0, header) && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
                 header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_machine == EM_X86_64;
    return known && linker_of(file.get(), header).ends_with(kKnownLinker);
  }
  return false;
}

std::string preload_for(const std::string& program, const char* present) {
  std::string library = find_library();
  bool survives = library.find_first_of(" :$") == std::string::npos;
  if (library.empty() || !survives || ::access(library.c_str(), R_OK) != 0) return {};
  if (!uses_known_linker(program)) return {};
  return present != nullptr && *present != '\0' ? std::string(present) + ":" + library : library;
}

}  // namespace ckpt::launcher
