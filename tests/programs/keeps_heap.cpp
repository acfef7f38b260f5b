// A program with a heap of vmheap larger than what it may have in memory, that has the same in memory of its
// own: at no instant may the two differ.
//
//   keeps_heap DIRECTORY READ_ONLY_DIRECTORY
//
// Prints "ready", and when there is a file `go`: "equal", or what differs. Threads, each with its part of the
// heap: two write at random, one has the kernel write (where it may), one has it write to pinned memory, one
// writes to memory that is never saved; the main thread commits, grows the heap, changes its lines, allocates
// and rolls nothing back.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "vmheap/heap.h"

namespace {

using ckpt::vmheap::Heap;
using ckpt::vmheap::Pin;
using ckpt::vmheap::PinFor;

constexpr std::uint64_t kHeapBytes = 64 << 20;
constexpr std::uint64_t kResidentBytes = 6 << 20;
constexpr std::uint64_t kPartBytes = 16 << 20;
constexpr std::uint64_t kSmallPartBytes = 256 << 10;
constexpr std::size_t kPageBytes = 4096;

std::atomic<bool> ends = false;
std::atomic<unsigned> wrong = 0;

void expect_same(std::uint64_t own, std::uint64_t in_heap, const char* what, std::uint64_t where) {
  if (own == in_heap) return;
  if (wrong++ < 5)
    std::printf("%s %llu: %llx in the heap, %llx outside\n", what, static_cast<unsigned long long>(where),
                static_cast<unsigned long long>(in_heap), static_cast<unsigned long long>(own));
}

// A word in every page.
class Part {
 public:
  Part(Heap& heap, std::uint64_t bytes)
      : words_(static_cast<std::uint64_t*>(heap.allocate(bytes, kPageBytes))), own_(bytes / kPageBytes) {
    for (std::uint64_t page = 0; page < own_.size(); ++page) *word(page) = 0;
  }

  void change(std::mt19937_64& random) {
    std::uint64_t page = random() % own_.size();
    expect_same(own_[page], *word(page), "page", page);
    own_[page] = random();
    *word(page) = own_[page];
  }

  void compare() const {
    for (std::uint64_t page = 0; page < own_.size(); ++page)
      expect_same(own_[page], *word(page), "page", page);
  }

  std::uint64_t* word(std::uint64_t page) const {
    return words_ + page * (kPageBytes / sizeof(std::uint64_t));
  }
  std::vector<std::uint64_t>& own() { return own_; }

 private:
  std::uint64_t* words_;
  std::vector<std::uint64_t> own_;
};

void write_at_random(Part& part, std::uint64_t seed) {
  for (std::mt19937_64 random(seed); !ends;) part.change(random);
}

// By read(2) from a pipe, page after page, of which many are not in memory.
void have_kernel_write(Heap& heap, Part& part, bool pinned) {
  std::array<int, 2> ends_of_pipe{};
  if (::pipe(ends_of_pipe.data()) != 0) std::abort();
  std::mt19937_64 random(pinned ? 11 : 12);
  while (!ends) {
    std::uint64_t page = random() % part.own().size();
    std::uint64_t value = random();
    expect_same(part.own()[page], *part.word(page), "word by the kernel", page);
    if (::write(ends_of_pipe[1], &value, sizeof value) != sizeof value) std::abort();
    ssize_t got = 0;
    if (pinned) {
      Pin pin(heap, part.word(page), sizeof value, PinFor::kWriting);
      got = ::read(ends_of_pipe[0], part.word(page), sizeof value);
    } else {
      got = ::read(ends_of_pipe[0], part.word(page), sizeof value);
    }
    if (got != sizeof value) std::abort();
    part.own()[page] = value;
  }
}

// Of what is neither pinned nor never saved.
void change_lines(Heap& heap, unsigned turn) {
  try {
    heap.set_line_bytes(heap.base() + (turn % 40U << 20U), 1 << 20, 4096U << turn % 5U);
  } catch (const ckpt::Error& error) {
    if (error.code() != EBUSY) wrong++;
  }
}

void allocate_and_free(Heap& heap) {
  std::vector<std::span<std::uint64_t>> held;
  std::mt19937_64 random(13);
  while (!ends) {
    std::size_t count = 1 + random() % 12000;
    auto* words = static_cast<std::uint64_t*>(heap.allocate(count * sizeof(std::uint64_t)));
    if (words != nullptr) {
      words[0] = words[count - 1] = count;
      held.emplace_back(words, count);
    }
    if (held.size() < 50 && words != nullptr) continue;
    std::swap(held.back(), held[random() % held.size()]);
    expect_same(held.back().size(), held.back().back(), "object", held.size());
    heap.deallocate(held.back().data());
    held.pop_back();
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  auto heap = Heap::open_or_create(
      argv[1], {.size = kHeapBytes, .regions = {{.begin = 8 << 20, .size = 16 << 20, .line_bytes = 1 << 16}}},
      {.resident_limit = kResidentBytes});
  auto other = Heap::open_or_create(argv[2], {.size = 1 << 20});
  std::strcpy(static_cast<char*>(other->allocate(100)), "other");
  other->commit();
  other.reset();
  other = Heap::open(argv[2], {.read_only = true});

  std::array<Part, 2> large{Part(*heap, kPartBytes), Part(*heap, kPartBytes)};
  Part by_kernel(*heap, kSmallPartBytes);
  Part by_kernel_pinned(*heap, kSmallPartBytes);
  Part unsaved(*heap, kSmallPartBytes);
  heap->set_kind(unsaved.word(0), kSmallPartBytes, ckpt::vmheap::RangeKind::kSystem);
  for (std::uint64_t page = 0; page < unsaved.own().size(); ++page) *unsaved.word(page) = 0;
  heap->commit();

  std::vector<std::thread> threads;
  threads.emplace_back(write_at_random, std::ref(large[0]), 1);
  threads.emplace_back(write_at_random, std::ref(large[1]), 2);
  threads.emplace_back(write_at_random, std::ref(unsaved), 3);
  if (heap->serves_system_calls()) threads.emplace_back([&] { have_kernel_write(*heap, by_kernel, false); });
  threads.emplace_back([&] { have_kernel_write(*heap, by_kernel_pinned, true); });
  threads.emplace_back([&] { allocate_and_free(*heap); });
  std::printf("ready\n");
  std::fflush(stdout);
  for (unsigned round = 0; !std::filesystem::exists("go"); ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (round % 4 == 0) heap->commit_in_background();
    if (round % 64 == 1) heap->grow(heap->size() + (1 << 20));
    if (round % 16 == 3) change_lines(*heap, round / 16);
    if (other->root("none") != nullptr || heap->statistics().failure != "") wrong++;
  }
  ends = true;
  for (std::thread& thread : threads) thread.join();
  for (const Part& part : large) part.compare();
  by_kernel.compare();
  by_kernel_pinned.compare();
  unsaved.compare();
  heap->wait_for_commit();
  heap->commit();
  std::printf("%s\n", wrong == 0 ? "equal" : "differs");
  return wrong == 0 ? 0 : 1;
}
