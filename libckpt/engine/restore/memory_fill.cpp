#include "engine/restore/memory_fill.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kPartPages = 512;
constexpr unsigned kMostThreads = 8;

struct Part {
  store::SpaceId space;
  store::PageRun run;
  RemoteAddr to;
};

// Page 0 of the space belongs at `origin`.
void add_parts(const std::vector<store::PageRun>& runs, store::SpaceId space, RemoteAddr origin,
               std::vector<Part>& parts) {
  for (const store::PageRun& run : runs) {
    for (std::uint64_t done = 0; done < run.page_count; done += kPartPages) {
      store::PageRun part{run.first_page + done, std::min(kPartPages, run.page_count - done)};
      parts.push_back({space, part, origin + part.first_page * kPageSize});
    }
  }
}

}  // namespace

void fill_memory(pid_t pid, const image::CheckpointT& checkpoint, const store::CheckpointReader& reader,
                 const std::vector<store::PageRun>& runs, const WorkArea& area) {
  std::vector<Part> parts;
  add_parts(runs, checkpoint.process->space, RemoteAddr{}, parts);
  for (std::size_t i = 0; i < checkpoint.objects.size(); ++i) {
    if (area.objects[i].value == 0) continue;
    store::SpaceId space = checkpoint.objects[i]->space;
    add_parts(reader.runs(space), space, area.objects[i], parts);
  }

  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  auto work = [&] {
    try {
      std::vector<std::byte> buffer(kPartPages * kPageSize);
      for (std::size_t i = next++; i < parts.size(); i = next++) {
        std::span<std::byte> bytes = std::span(buffer).first(parts[i].run.page_count * kPageSize);
        reader.read(parts[i].space, parts[i].run, bytes);
        write_remote(pid, parts[i].to, bytes);
      }
    } catch (...) {
      next = parts.size();
      std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  std::size_t helpers =
      std::min<std::size_t>({std::max(1u, std::thread::hardware_concurrency()), kMostThreads, parts.size()});
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < helpers; ++i) threads.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace ckpt::engine
