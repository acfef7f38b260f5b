// Whether a program can have a library preloaded: it is dynamically linked, by the linker that our library
// was made for, and does not insist on being the first to be loaded, as the runtime of AddressSanitizer does
// (it ends the program otherwise). Scripts are looked at by their interpreters.
//
// Keeps to the rules of the agent (agent/intent.h): system calls and the stack only, so that a child of
// vfork() may ask. Changes errno.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace ckpt {
namespace preload {

inline constexpr int kDeepestInterpreter = 5;
inline constexpr char kKnownLinker[] = "/ld-linux-x86-64.so.2";

class File {
 public:
  explicit File(const char* path)
      : fd_(::syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0)) {}
  ~File() {
    if (fd_ >= 0) ::syscall(SYS_close, fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool is_open() const { return fd_ >= 0; }
  // How much was there; the rest of `text` is zero, its last byte in any case.
  template <std::size_t kSize>
  std::size_t read_text(std::uint64_t offset, char (&text)[kSize]) const {
    long got = ::syscall(SYS_pread64, fd_, text, kSize - 1, offset);
    std::size_t size = got > 0 ? static_cast<std::size_t>(got) : 0;
    ::memset(text + size, 0, kSize - size);
    return size;
  }
  template <typename Value>
  bool read(std::uint64_t offset, Value& value) const {
    return ::syscall(SYS_pread64, fd_, &value, sizeof value, offset) == static_cast<long>(sizeof value);
  }

 private:
  long fd_;
};

// True if `path` is a script; then it becomes that of its interpreter.
template <std::size_t kSize>
bool go_to_interpreter(const File& file, char (&path)[kSize]) {
  char line[kSize];
  file.read_text(0, line);
  if (line[0] != '#' || line[1] != '!') return false;
  const char* begin = line + 2 + ::strspn(line + 2, " \t");
  std::size_t length = ::strcspn(begin, " \t\n");
  ::memcpy(path, begin, length);
  path[length] = '\0';
  return true;
}

struct Segments {
  Elf64_Phdr interpreter{};
  Elf64_Phdr dynamic{};
};

inline bool find_segments(const File& file, const Elf64_Ehdr& header, Segments& found) {
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    if (!file.read(header.e_phoff + i * sizeof segment, segment)) return false;
    if (segment.p_type == PT_INTERP) found.interpreter = segment;
    if (segment.p_type == PT_DYNAMIC) found.dynamic = segment;
  }
  return found.interpreter.p_filesz != 0;
}

inline bool is_known_linker(const File& file, const Elf64_Phdr& interpreter) {
  char path[256];
  file.read_text(interpreter.p_offset, path);
  std::size_t length = ::strlen(path);
  constexpr std::size_t kKnown = sizeof kKnownLinker - 1;
  return length >= kKnown && ::strcmp(path + length - kKnown, kKnownLinker) == 0;
}

// Where in the file the bytes of a virtual address are; 0 if nowhere.
inline std::uint64_t offset_of(const File& file, const Elf64_Ehdr& header, std::uint64_t address) {
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment{};
    if (!file.read(header.e_phoff + i * sizeof segment, segment)) return 0;
    bool inside = segment.p_type == PT_LOAD && address >= segment.p_vaddr &&
                  address - segment.p_vaddr < segment.p_filesz;
    if (inside) return segment.p_offset + (address - segment.p_vaddr);
  }
  return 0;
}

inline bool wants_to_be_first(const File& file, const Elf64_Ehdr& header, const Elf64_Phdr& dynamic) {
  std::uint64_t names = 0;
  const std::uint64_t end = dynamic.p_offset + dynamic.p_filesz;
  Elf64_Dyn entry{};
  auto each = [&](const auto& look) {
    for (std::uint64_t at = dynamic.p_offset; at < end && file.read(at, entry); at += sizeof entry) {
      if (entry.d_tag == DT_NULL || look()) return;
    }
  };
  each([&] {
    if (entry.d_tag == DT_STRTAB) names = offset_of(file, header, entry.d_un.d_ptr);
    return names != 0;
  });
  bool found = false;
  each([&] {
    if (entry.d_tag != DT_NEEDED || names == 0) return false;
    char name[64];
    file.read_text(names + entry.d_un.d_val, name);
    found = ::strncmp(name, "libasan.so", 10) == 0 || ::strncmp(name, "libclang_rt.asan", 16) == 0;
    return found;
  });
  return found;
}

}  // namespace preload

inline bool takes_preload(const char* program) {
  char path[4096];
  const std::size_t length = ::strlen(program);
  if (length >= sizeof path) return false;
  ::memcpy(path, program, length + 1);
  for (int depth = 0; depth < preload::kDeepestInterpreter; ++depth) {
    preload::File file(path);
    if (!file.is_open()) return false;
    if (preload::go_to_interpreter(file, path)) continue;
    Elf64_Ehdr header{};
    bool known = file.read(0, header) && ::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 &&
                 header.e_ident[EI_CLASS] == ELFCLASS64 && header.e_machine == EM_X86_64;
    preload::Segments segments;
    return known && preload::find_segments(file, header, segments) &&
           preload::is_known_linker(file, segments.interpreter) &&
           !preload::wants_to_be_first(file, header, segments.dynamic);
  }
  return false;
}

}  // namespace ckpt
