#include "heap/live_statistics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include "base/error.h"

namespace ckpt::vmheap {
namespace {

constexpr const char* kName = "ckpt-heap-statistics";
constexpr std::array<char, 8> kMagic{'V', 'M', 'S', 'T', 'A', 'T', 'S', '1'};
constexpr std::size_t kBytes = 4096;
constexpr std::size_t kFailureOffset = 3072;
constexpr int kMostLooks = 1000;

struct Head {
  std::array<char, 8> magic = kMagic;
  FileIdentity heap;
  std::uint64_t sequence = 0;
  std::array<std::uint64_t, std::size(kStatisticsFields)> numbers{};
};
static_assert(sizeof(Head) <= kFailureOffset);

// A read that no write came into.
std::optional<HeapInUse> read_from(int fd, const FileIdentity& heap, pid_t pid) {
  std::array<char, kBytes> bytes{};
  for (int look = 0; look < kMostLooks; ++look) {
    Head head;
    Head again;
    if (::pread(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
        ::pread(fd, &again, sizeof again, 0) != static_cast<ssize_t>(sizeof again))
      return std::nullopt;
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.magic != kMagic || head.heap != heap) return std::nullopt;
    if (head.sequence % 2 != 0 || head.sequence != again.sequence) continue;
    HeapInUse found{.pid = pid, .statistics = {}};
    for (std::size_t i = 0; i < head.numbers.size(); ++i)
      found.statistics.*kStatisticsFields[i].second = head.numbers[i];
    bytes.back() = '\0';
    found.statistics.failure = bytes.data() + kFailureOffset;
    return found;
  }
  return std::nullopt;
}

std::optional<HeapInUse> find_in(pid_t pid, const FileIdentity& heap) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), ignored)) {
    std::filesystem::path target = std::filesystem::read_symlink(entry.path(), ignored);
    if (!target.native().starts_with(fmt::format("/memfd:{}", kName))) continue;
    UniqueFd fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (auto found = fd ? read_from(fd.get(), heap, pid) : std::nullopt) return found;
  }
  return std::nullopt;
}

// Those who hold locks of files with this number (proc_locks(5); the device there need not be that of
// stat(2)).
std::vector<pid_t> holders(std::uint64_t inode) {
  std::vector<pid_t> result;
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number;
    std::string kind;
    std::string advisory;
    std::string access;
    pid_t pid = 0;
    std::string file;
    if (!(words >> number >> kind >> advisory >> access >> pid >> file)) continue;
    if (kind == "FLOCK" && pid > 0 && file.ends_with(fmt::format(":{}", inode))) result.push_back(pid);
  }
  return result;
}

}  // namespace

FileIdentity identity_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_errno("look at the lock of the heap");
  return {.device = status.st_dev, .inode = status.st_ino};
}

LiveStatistics::LiveStatistics() : fd_(::memfd_create(kName, MFD_CLOEXEC)) {
  if (!fd_) throw_errno("memfd_create");
  if (::ftruncate(fd_.get(), kBytes) != 0) throw_errno("make a memfd for statistics");
  void* got = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (got == MAP_FAILED) throw_errno("map memory for statistics");
  page_ = static_cast<std::byte*>(got);
}

LiveStatistics::~LiveStatistics() { ::munmap(page_, kBytes); }

void LiveStatistics::publish(const FileIdentity& heap, const Statistics& numbers,
                             const std::string& failure) {
  auto& head = *reinterpret_cast<Head*>(page_);
  std::atomic_ref sequence(head.sequence);
  sequence.fetch_add(1);
  head.magic = kMagic;
  head.heap = heap;
  for (std::size_t i = 0; i < head.numbers.size(); ++i)
    head.numbers[i] = numbers.*kStatisticsFields[i].second;
  auto* text = reinterpret_cast<char*>(page_ + kFailureOffset);
  std::size_t size = std::min(failure.size(), kBytes - kFailureOffset - 1);
  std::memcpy(text, failure.data(), size);
  text[size] = '\0';
  sequence.fetch_add(1);
}

std::optional<HeapInUse> find_live_statistics(const FileIdentity& heap) {
  for (pid_t pid : holders(heap.inode)) {
    if (auto found = find_in(pid, heap)) return found;
  }
  return std::nullopt;
}

}  // namespace ckpt::vmheap
