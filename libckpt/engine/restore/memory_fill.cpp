#include "engine/restore/memory_fill.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "engine/restore/page_room.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kPartPages = 512;  // what one leaf of a page tree describes, and a huge page
constexpr unsigned kMostThreads = 8;

void install_all(const UserFaults& faults, RemoteAddr to, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    Installed done = faults.install(to.value / kPageSize, bytes);
    std::uint64_t size_bytes = done.page_count * kPageSize;
    if (size_bytes == 0 && done.outcome != Installing::kChanging)
      throw Error(fmt::format("memory at {:#x} cannot be filled; this is a bug", to.value));
    bytes = bytes.subspan(size_bytes);
    to = to + size_bytes;
  }
}

class Filling {
 public:
  Filling(pid_t pid, const store::CheckpointReader& reader, const std::vector<FillPart>& parts,
          const UserFaults* faults)
      : pid_(pid), reader_(reader), parts_(parts), faults_(faults) {}

  void run() {
    std::size_t helpers = std::min<std::size_t>(
        {std::max(1U, std::thread::hardware_concurrency()), kMostThreads, parts_.size()});
    {
      std::vector<std::jthread> threads;
      for (std::size_t i = 1; i < helpers; ++i) threads.emplace_back([this] { work(); });
      work();
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    try {
      PageRoom room;
      for (std::size_t i = next_++; i < parts_.size(); i = next_++) fill(parts_[i], room);
    } catch (...) {
      next_ = parts_.size();
      std::scoped_lock lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
    }
  }

  void fill(const FillPart& part, PageRoom& room) const {
    std::span<std::byte> bytes = room.pages(part.run.page_count);
    reader_.read(part.space, part.run, bytes);
    if (part.watched) {
      install_all(*faults_, part.to, bytes);
    } else {
      write_remote(pid_, part.to, bytes);
    }
  }

  pid_t pid_;
  const store::CheckpointReader& reader_;
  const std::vector<FillPart>& parts_;
  const UserFaults* faults_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

void add_parts(const std::vector<store::PageRun>& runs, store::SpaceId space, RemoteAddr origin, bool watched,
               std::vector<FillPart>& parts) {
  for (const store::PageRun& run : runs) {
    std::uint64_t end = run.first_page + run.page_count;
    for (std::uint64_t page = run.first_page; page < end;) {
      std::uint64_t next = std::min(end, (page / kPartPages + 1) * kPartPages);
      parts.push_back({space, {page, next - page}, origin + page * kPageSize, watched});
      page = next;
    }
  }
}

void fill_memory(pid_t pid, const store::CheckpointReader& reader, const std::vector<FillPart>& parts,
                 const UserFaults* faults) {
  Filling(pid, reader, parts, faults).run();
}

}  // namespace ckpt::engine
