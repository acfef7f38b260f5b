// Threads that map, unmap, move, grow, shrink, protect and discard memory and move the end of the heap all
// the time, and know what every page of it must hold. Calls that succeed without checkpoints must succeed
// with them. Takes the go file; see changes_all_the_time.h.
#include <malloc.h>
#include <sys/mman.h>

#include <mutex>

#include "changes_all_the_time.h"

namespace {

constexpr unsigned kThreads = 3;
constexpr std::size_t kRegionsPerThread = 12;
constexpr std::size_t kMostPages = 96;
constexpr std::size_t kHeapPages = 64;

using Words = std::array<std::uint64_t, kTargetPageBytes / sizeof(std::uint64_t)>;

// What a page holds: words that follow from its seed, or zeroes (seed 0).
void write_page(Words& page, std::uint64_t seed) {
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = target_mix(seed, i);
}

void check_page(const Words& page, std::uint64_t seed, const char* where) {
  for (std::size_t i = 0; i < page.size(); ++i) {
    const std::uint64_t expected = seed == 0 ? 0 : target_mix(seed, i);
    if (page[i] == expected) continue;
    target_violated("%s: page at %p, seed %llx, word %zu: %llx instead of %llx", where,
                    static_cast<const void*>(&page), static_cast<unsigned long long>(seed), i,
                    static_cast<unsigned long long>(page[i]), static_cast<unsigned long long>(expected));
  }
}

void require_call(bool succeeded, const char* what) {
  if (!succeeded) target_violated("%s: %s", what, strerror(errno));
}

// Pages of one mapping, and their seeds.
class Region {
 public:
  bool mapped() const { return pages_ != nullptr; }

  void map(TargetRandom& random) {
    seeds_.assign(random.below(kMostPages) + 1, 0);
    void* memory = ::mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require_call(memory != MAP_FAILED, "mmap");
    pages_ = static_cast<Words*>(memory);
    protection_ = PROT_READ | PROT_WRITE;
    write_some(random);
  }

  void unmap() {
    require_call(::munmap(pages_, bytes()) == 0, "munmap");
    pages_ = nullptr;
    seeds_.clear();
  }

  // Somewhere else (over a reservation that it replaces), or to another size, or both.
  void remap(TargetRandom& random) {
    const std::size_t count = random.below(kMostPages) + 1;
    void* moved = nullptr;
    if (random.below(2) == 0) {
      void* place = ::mmap(nullptr, count * kTargetPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      require_call(place != MAP_FAILED, "reserve a place");
      moved = ::mremap(pages_, bytes(), count * kTargetPageBytes, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    } else {
      moved = ::mremap(pages_, bytes(), count * kTargetPageBytes, MREMAP_MAYMOVE);
    }
    require_call(moved != MAP_FAILED, "mremap");
    pages_ = static_cast<Words*>(moved);
    seeds_.resize(count, 0);
  }

  void protect(TargetRandom& random) {
    static constexpr std::array<int, 3> kProtections{PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE};
    set_protection(kProtections[random.below(kProtections.size())]);
  }

  void write_some(TargetRandom& random) {
    if ((protection_ & PROT_WRITE) == 0) set_protection(PROT_READ | PROT_WRITE);
    for (std::uint64_t left = random.below(8); left > 0; --left) {
      const std::size_t page = random.below(seeds_.size());
      seeds_[page] = random.next() | 1;
      write_page(pages_[page], seeds_[page]);
    }
  }

  void discard(TargetRandom& random) {
    const std::size_t first = random.below(seeds_.size());
    const std::size_t count = random.below(seeds_.size() - first) + 1;
    require_call(::madvise(pages_ + first, count * kTargetPageBytes, MADV_DONTNEED) == 0, "madvise");
    std::fill_n(seeds_.begin() + static_cast<std::ptrdiff_t>(first), count, 0);
  }

  void check() {
    const int before = protection_;
    if ((before & PROT_READ) == 0) set_protection(PROT_READ);
    for (std::size_t page = 0; page < seeds_.size(); ++page)
      check_page(pages_[page], seeds_[page], "mapping");
    if (protection_ != before) set_protection(before);
  }

 private:
  std::size_t bytes() const { return seeds_.size() * kTargetPageBytes; }
  void set_protection(int protection) {
    require_call(::mprotect(pages_, bytes(), protection) == 0, "mprotect");
    protection_ = protection;
  }

  Words* pages_ = nullptr;
  std::vector<std::uint64_t> seeds_;
  int protection_ = 0;
};

// The heap behind its end at the start of the program; nothing else here uses brk, since the allocator was
// told not to.
class Heap {
 public:
  Heap() {
    auto end = reinterpret_cast<std::uintptr_t>(::sbrk(0));
    const std::uintptr_t start = (end + kTargetPageBytes - 1) / kTargetPageBytes * kTargetPageBytes;
    require_call(::brk(reinterpret_cast<void*>(start)) == 0, "brk");
    pages_ = reinterpret_cast<Words*>(start);
  }

  void change(TargetRandom& random) {
    const std::size_t count = random.below(kHeapPages + 1);
    require_call(::brk(pages_ + count) == 0, "brk");
    seeds_.resize(count, 0);
    if (seeds_.empty()) return;
    const std::size_t page = random.below(count);
    seeds_[page] = random.next() | 1;
    write_page(pages_[page], seeds_[page]);
  }

  void check() const {
    for (std::size_t page = 0; page < seeds_.size(); ++page) check_page(pages_[page], seeds_[page], "heap");
  }

 private:
  Words* pages_ = nullptr;
  std::vector<std::uint64_t> seeds_;
};

// The stack below what is in use: written on the way down, checked on the way up.
std::uint64_t descend(unsigned depth, std::uint64_t seed) {
  Words frame;
  write_page(frame, seed + depth);
  const std::uint64_t below = depth == 0 ? seed : descend(depth - 1, seed);
  check_page(frame, seed + depth, "stack");
  return below + frame[depth % frame.size()];
}

struct Changer {
  std::mutex mutex;  // between its thread and the check
  std::array<Region, kRegionsPerThread> regions;

  void change(TargetRandom& random) {
    std::lock_guard lock(mutex);
    Region& region = regions[random.below(regions.size())];
    if (!region.mapped()) return region.map(random);
    switch (random.below(8)) {
      case 0:
        return region.unmap();
      case 1:
        return region.remap(random);
      case 2:
        return region.protect(random);
      case 3:
        return region.discard(random);
      case 4:
        return region.check();
      default:
        return region.write_some(random);
    }
  }

  void check() {
    std::lock_guard lock(mutex);
    for (Region& region : regions) {
      if (region.mapped()) region.check();
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  ::mallopt(M_MMAP_THRESHOLD, 0);  // the end of the heap is ours
  Heap heap;
  std::array<Changer, kThreads> changers;
  std::mutex heap_mutex;
  return change_all_the_time(
      go_file, kThreads + 1,
      [&](unsigned thread, TargetRandom& random) {
        if (thread < kThreads) return changers[thread].change(random);
        descend(static_cast<unsigned>(random.below(60)), random.next());
        std::lock_guard lock(heap_mutex);
        heap.change(random);
        if (random.below(16) == 0) heap.check();
      },
      [&] {
        for (Changer& changer : changers) changer.check();
        std::lock_guard lock(heap_mutex);
        heap.check();
      });
}
