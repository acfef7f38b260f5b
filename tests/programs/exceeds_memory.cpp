// Writes and reads a persistent heap that is many times its resident limit, at random and in order, with
// commits, and watches how much memory that takes.
//
//   exceeds_memory HEAP SIZE_MIB LIMIT_MIB    prints the most that the heap's memory file had at once, and
//   the most by
//                                             which the process had grown (PSS), in KiB; ends with "ok"
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>

#include "vmheap/heap.h"

namespace {

using ckpt::vmheap::Heap;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kPageNumbers = 4096 / sizeof(std::uint64_t);

// The memory file that the heap's lines are in.
int find_memory_file() {
  for (int fd = 0; fd < 1024; ++fd) {
    std::array<char, PATH_MAX> target{};
    std::string link = "/proc/self/fd/" + std::to_string(fd);
    if (::readlink(link.c_str(), target.data(), target.size() - 1) > 0 &&
        std::string(target.data()).starts_with("/memfd:vmheap"))
      return fd;
  }
  throw std::runtime_error("the heap has no memory file");
}

std::uint64_t file_kib(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) / 2 : 0;
}

std::uint64_t pss_kib() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  for (std::string word; rollup >> word;) {
    std::uint64_t value = 0;
    if (word == "Pss:" && rollup >> value) return value;
  }
  throw std::runtime_error("smaps_rollup has no Pss");
}

class Watch {
 public:
  Watch() : file_(find_memory_file()), before_kib_(pss_kib() - std::min(pss_kib(), file_kib(file_))) {
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        most_file_kib = std::max(most_file_kib.load(), file_kib(file_));
        most_grown_kib = std::max(most_grown_kib.load(), pss_kib() - std::min(pss_kib(), before_kib_));
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
    });
  }
  std::atomic<std::uint64_t> most_file_kib = 0;
  std::atomic<std::uint64_t> most_grown_kib = 0;

 private:
  int file_;
  std::uint64_t before_kib_;
  std::jthread thread_;
};

void require(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

void work(Heap& heap, std::uint64_t pages) {
  auto* numbers = static_cast<std::uint64_t*>(heap.allocate(pages * 4096, 4096));
  require(numbers != nullptr, "the heap is full");
  auto number = [&](std::uint64_t page) -> std::uint64_t& {
    return numbers[page * kPageNumbers + page % kPageNumbers];
  };
  for (std::uint64_t page = 0; page < pages; ++page) {
    number(page) = page + 1;
    if (page == pages / 2) heap.commit();
  }
  std::mt19937_64 random(1);
  std::uint64_t added = 0;
  for (std::uint64_t i = 0; i < pages / 2; ++i) {
    ++number(random() % pages);
    ++added;
    if (i == pages / 4) heap.commit_in_background();
  }
  heap.wait_for_commit();
  heap.commit();
  std::uint64_t sum = 0;
  for (std::uint64_t page = 0; page < pages; ++page) sum += number(page);
  require(sum == pages * (pages + 1) / 2 + added, "the numbers are not what was written");
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::fputs("usage: exceeds_memory HEAP SIZE_MIB LIMIT_MIB\n", stderr);
    return 2;
  }
  std::uint64_t size = std::strtoull(argv[2], nullptr, 10) * kMiB;
  std::uint64_t limit = std::strtoull(argv[3], nullptr, 10) * kMiB;
  auto heap = Heap::create(argv[1], {.size = size + size / 4}, {.resident_limit = limit});
  Watch watch;
  work(*heap, size / 4096);
  std::printf("file %llu\ngrown %llu\nok\n", static_cast<unsigned long long>(watch.most_file_kib),
              static_cast<unsigned long long>(watch.most_grown_kib));
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "exceeds_memory: %s\n", error.what());
  return 1;
}
