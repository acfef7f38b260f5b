#include "engine/capture/page_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/remote_addr.h"
#include "engine/capture/page_scan.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} << 20;

[[noreturn]] void cannot_read(std::uint64_t address) {
  throw Error(
      fmt::format("memory at {:#x} cannot be read (damaged, or guarded in a way that this kernel does "
                  "not tell); free it before the checkpoint",
                  address));
}

bool is_guard(pid_t pid, std::uint64_t address) {
  AddressRange page{address, address + kPageSize};
  return !PageScanner(pid).scan_all(page, PageFilter::kAnyContent).guards.empty();
}

// Calls `take(first_page, bytes)` for what can be read of the task.
template <typename Take>
void read_task(const PageTask& task, MemoryReader& reader, std::span<std::byte> chunk, Unreadable unreadable,
               AddressRanges& guards, const Take& take) {
  for (std::uint64_t at = task.range.start; at < task.range.end;) {
    std::size_t got = reader.read({at, task.range.end}, chunk);
    if (got == 0) {
      if (is_guard(reader.pid(), at)) {
        append(guards, {at, at + kPageSize});
      } else if (!task.may_end_early && unreadable == Unreadable::kError) {
        cannot_read(at);
      }
      at += kPageSize;
      continue;
    }
    take(task.first_page + (at - task.range.start) / kPageSize, chunk.first(got));
    at += got;
  }
}

// Tasks that are copied with one call: whole, adjacent in the list, and together within a size.
struct Batch {
  std::span<const PageTask> tasks;
  std::size_t bytes = 0;
};

struct BatchInRoom {
  Batch batch;
  std::span<std::byte> room;
  bool whole = false;  // all could be read
};

Batch next_batch(std::span<const PageTask> tasks, std::size_t room) {
  Batch batch;
  std::size_t count = 0;
  while (count < tasks.size() && count < MemoryReader::kMostRanges) {
    std::size_t size = tasks[count].range.size_bytes();
    if (batch.bytes + size > room) break;
    batch.bytes += size;
    ++count;
  }
  batch.tasks = tasks.first(count);
  return batch;
}

// One system call for the whole batch; false if some of it cannot be read.
bool read_batch(const Batch& batch, const MemoryReader& reader, std::span<std::byte> out) {
  std::vector<AddressRange> ranges;
  ranges.reserve(batch.tasks.size());
  for (const PageTask& task : batch.tasks) ranges.push_back(task.range);
  return reader.read_scattered(ranges, out);
}

// Page runs that access bits forbid, that end early, or that are larger than the buffer.
class SlowCopy {
 public:
  SlowCopy(MemoryReader& reader, PageBuffer& buffer, store::CheckpointWriter& writer)
      : reader_(reader), buffer_(buffer), writer_(writer) {}

  void copy(const PageTask& task) {
    if (chunk_.empty()) chunk_.resize(kChunkBytes);
    read_task(task, reader_, chunk_, Unreadable::kError, guards_,
              [&](std::uint64_t first_page, std::span<const std::byte> bytes) {
                if (bytes.size() > buffer_.free_bytes()) return writer_.put(task.space, first_page, bytes);
                std::span<std::byte> room = buffer_.take_room(bytes.size());
                std::ranges::copy(bytes, room.begin());
                buffer_.add(task.space, first_page, room);
              });
  }
  AddressRanges take_guards() { return std::move(guards_); }

 private:
  MemoryReader& reader_;
  PageBuffer& buffer_;
  store::CheckpointWriter& writer_;
  std::vector<std::byte> chunk_;
  AddressRanges guards_;
};

}  // namespace

std::uint64_t total_bytes(const PageTasks& tasks) {
  std::uint64_t total = 0;
  for (const PageTask& task : tasks) total += task.range.size_bytes();
  return total;
}

AddressRanges store_pages(const PageTasks& tasks, MemoryReader& reader, store::CheckpointWriter& writer,
                          Unreadable unreadable) {
  AddressRanges guards;
  std::vector<std::byte> chunk(kChunkBytes);
  std::span<const PageTask> left(tasks);
  while (!left.empty()) {
    Batch batch = next_batch(left, chunk.size());
    std::span<std::byte> bytes = std::span(chunk).first(batch.bytes);
    // One by one where the next is too large for the chunk, or not all can be read.
    if (batch.tasks.empty()) batch.tasks = left.first(1);
    if (bytes.empty() || !read_batch(batch, reader, bytes)) {
      for (const PageTask& task : batch.tasks) {
        read_task(task, reader, chunk, unreadable, guards,
                  [&](std::uint64_t first_page, std::span<const std::byte> part) {
                    writer.put(task.space, first_page, part);
                  });
      }
    } else {
      for (const PageTask& task : batch.tasks) {
        writer.put(task.space, task.first_page, bytes.first(task.range.size_bytes()));
        bytes = bytes.subspan(task.range.size_bytes());
      }
    }
    left = left.subspan(batch.tasks.size());
  }
  return guards;
}

AddressRanges copy_pages(const PageTasks& tasks, MemoryReader& reader, PageBuffer& buffer,
                         store::CheckpointWriter& writer, PauseThreads& threads) {
  SlowCopy slow(reader, buffer, writer);
  std::vector<BatchInRoom> batches;
  std::span<const PageTask> left(tasks);
  while (!left.empty()) {
    Batch batch = next_batch(left, std::min(kChunkBytes, buffer.free_bytes()));
    // A long one alone.
    if (batch.tasks.empty()) batch = next_batch(left.first(1), buffer.free_bytes());
    if (batch.tasks.empty()) {
      slow.copy(left.front());
      left = left.subspan(1);
      continue;
    }
    batches.push_back({.batch = batch, .room = buffer.take_room(batch.bytes)});
    left = left.subspan(batch.tasks.size());
  }
  threads.run(batches.size(), [&](std::size_t i) {
    batches[i].whole = read_batch(batches[i].batch, reader, batches[i].room);
  });
  for (const BatchInRoom& copied : batches) {
    std::span<const std::byte> rest = copied.room;
    for (const PageTask& task : copied.batch.tasks) {
      std::span<const std::byte> bytes = rest.first(task.range.size_bytes());
      rest = rest.subspan(bytes.size());
      if (copied.whole) {
        buffer.add(task.space, task.first_page, bytes);
      } else {
        slow.copy(task);
      }
    }
  }
  return slow.take_guards();
}

}  // namespace ckpt::engine
