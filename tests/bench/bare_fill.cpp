#include "bare_fill.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"

namespace ckpt::bench {
namespace {

constexpr std::uint64_t kBlockBytes = 4 << 20;

double fill_rate(const std::string& path, std::uint64_t bytes, int flags) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw_errno("map memory to fill");
  ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  UniqueFd file = open_or_throw(path, O_RDONLY | flags);
  std::atomic<std::uint64_t> next = 0;
  std::atomic<bool> failed = false;
  auto fill = [&] {
    for (std::uint64_t at = 0; (at = next.fetch_add(kBlockBytes)) < bytes;) {
      const std::uint64_t size = std::min(kBlockBytes, bytes - at);
      if (::pread(file.get(), static_cast<char*>(memory) + at, size, static_cast<off_t>(at)) !=
          static_cast<ssize_t>(size))
        failed = true;
    }
  };
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(std::thread::hardware_concurrency(), 1U); ++i) threads.emplace_back(fill);
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  ::munmap(memory, bytes);
  if (failed) throw Error("could not read all of " + path);
  return static_cast<double>(bytes) / taken.count();
}

}  // namespace

double bare_fill_rate(const std::string& path, std::uint64_t bytes) {
  const double past_cache = fill_rate(path, bytes, O_DIRECT);  // first: leaves the page cache as it is
  return std::max(past_cache, fill_rate(path, bytes, 0));
}

void warm_page_cache(const std::string& path) {
  UniqueFd file = open_or_throw(path, O_RDONLY);
  std::vector<char> buffer(kBlockBytes);
  while (::read(file.get(), buffer.data(), buffer.size()) > 0) continue;
}

void drop_from_page_cache(const std::string& path) {
  UniqueFd file = open_or_throw(path, O_RDONLY);
  if (int code = ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED); code != 0)
    throw_errno("drop " + path + " from the page cache", code);
}

}  // namespace ckpt::bench
