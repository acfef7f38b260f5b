// fwrite() and fread() for the Lua library: the C library hands large blocks to the kernel as they are, and
// an ordinary user's system calls fail on heap memory that is not mapped. Linked with --wrap; blocks pass
// through a buffer outside of the heap.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstring>

// The linker gives these names (--wrap in ld(1)).
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

std::size_t __real_fwrite(const void* bytes, std::size_t size, std::size_t count, std::FILE* stream);
std::size_t __real_fread(void* bytes, std::size_t size, std::size_t count, std::FILE* stream);

constexpr std::size_t kPartBytes = 4096;

std::size_t __wrap_fwrite(const void* bytes, std::size_t size, std::size_t count, std::FILE* stream) {
  std::array<char, kPartBytes> part;
  const auto* from = static_cast<const char*>(bytes);
  std::size_t total = size * count;
  std::size_t done = 0;
  while (done < total) {
    std::size_t step = std::min(part.size(), total - done);
    std::memcpy(part.data(), from + done, step);
    std::size_t written = __real_fwrite(part.data(), 1, step, stream);
    done += written;
    if (written < step) break;
  }
  return size == 0 ? 0 : done / size;
}

std::size_t __wrap_fread(void* bytes, std::size_t size, std::size_t count, std::FILE* stream) {
  std::array<char, kPartBytes> part;
  auto* to = static_cast<char*>(bytes);
  std::size_t total = size * count;
  std::size_t done = 0;
  while (done < total) {
    std::size_t step = std::min(part.size(), total - done);
    std::size_t got = __real_fread(part.data(), 1, step, stream);
    std::memcpy(to + done, part.data(), got);
    done += got;
    if (got < step) break;
  }
  return size == 0 ? 0 : done / size;
}
}
// NOLINTEND(bugprone-reserved-identifier)
