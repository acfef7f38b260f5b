// Everything that can be done to a heap, at random, beside a model of what must be in it.
//
//   CKPT_HEAP_STEPS   how many steps (default: 1500); CKPT_HEAP_SEED repeats another run
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>

#include "base/error.h"
#include "heap_fixture.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kHeapPage = 4096;
constexpr std::uint64_t kMostPages = 40 * kMiB / kHeapPage;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

class RandomHeap : public HeapFixture {
 protected:
  // A word in every page behind what the allocator has for itself. The allocator's own state is not
  // disturbed.
  static constexpr std::uint64_t kFirstPage = kMiB / kHeapPage;
  struct Model {
    std::vector<std::uint64_t> words;
    std::vector<HeapRegion> regions;
  };

  std::uint64_t pick(std::uint64_t below) { return random_() % below; }
  std::uint64_t page_count() const { return now_.words.size(); }
  std::byte* address(std::uint64_t page) const { return heap_->base() + page * kHeapPage; }
  std::uint64_t& word(std::uint64_t page) const {
    return *reinterpret_cast<std::uint64_t*>(address(page) + page % 500 * 8);
  }
  std::uint64_t any_page() { return kFirstPage + pick(page_count() - kFirstPage); }
  std::uint32_t any_line() { return static_cast<std::uint32_t>(kHeapPage << pick(5)); }
  std::uint32_t line_at(std::uint64_t page) const {
    for (const HeapRegion& region : now_.regions) {
      if (page * kHeapPage < region.begin + region.size) return region.line_bytes;
    }
    return 0;
  }

  void write() {
    for (std::uint64_t left = pick(200), page = any_page(); left > 0 && page < page_count(); --left) {
      word(page) = now_.words[page] = random_();
      page = pick(3) != 0 ? page + 1 : any_page();
    }
  }

  void read() {
    for (std::uint64_t left = pick(600), page = any_page(); left > 0 && page < page_count(); --left) {
      ASSERT_EQ(word(page), now_.words[page]) << "page " << page;
      page = pick(20) != 0 ? page + 1 : any_page();
    }
  }

  // Whole lines, so that the model knows what goes.
  void discard() {
    std::uint64_t page = any_page();
    std::uint64_t pages = line_at(page) / kHeapPage * (1 + pick(3));
    page = page / 16 * 16;
    pages = (pages + 15) / 16 * 16;
    if (page < kFirstPage || page + pages > page_count()) return;
    heap_->discard(address(page), pages * kHeapPage);
    std::fill_n(now_.words.begin() + static_cast<std::ptrdiff_t>(page), pages, 0);
  }

  void hint() {
    std::uint64_t page = any_page();
    std::uint64_t size = std::min((1 + pick(500)) * kHeapPage, (page_count() - page) * kHeapPage);
    switch (pick(4)) {
      case 0:
        heap_->will_need(address(page), size);
        break;
      case 1:
        heap_->cold(address(page), size);
        break;
      case 2:
        heap_->set_pattern(address(page), size, static_cast<AccessPattern>(pick(3)));
        break;
      default: {
        std::uint64_t pinned = std::min<std::uint64_t>(size, 4 * kHeapPage);
        Pin pin(*heap_, address(page), pinned, PinFor::kWriting);
        word(page) = now_.words[page] = random_();
        read();
      }
    }
  }

  void commit() {
    heap_->commit_in_background();
    Model committed = now_;
    write();
    read();
    versions_[heap_->wait_for_commit()] = std::move(committed);
    while (versions_.size() > 3) versions_.erase(versions_.begin());
  }

  void roll_back() {
    if (versions_.empty()) return;
    auto to = std::next(versions_.begin(), static_cast<std::ptrdiff_t>(pick(versions_.size())));
    std::size_t size = now_.words.size();
    heap_->roll_back(to->first);
    now_ = to->second;
    now_.words.resize(std::max(size, now_.words.size()));
    now_.regions = heap_->regions();
  }

  void change_lines() {
    std::uint32_t line = any_line();
    std::uint64_t begin = pick(page_count()) * kHeapPage / line * line;
    std::uint64_t size = std::min((1 + pick(64)) * line, page_count() * kHeapPage - begin);
    try {
      heap_->set_line_bytes(heap_->base() + begin, size / line * line, line);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), EINVAL) << error.what();  // half a line of those around would be left
    }
    now_.regions = heap_->regions();
  }

  void grow() {
    if (page_count() + 300 > kMostPages) return;
    try {
      heap_->grow((page_count() + 16 * (1 + pick(16))) * kHeapPage, any_line());
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), EINVAL) << error.what();
    }
    now_.words.resize(heap_->size() / kHeapPage);
    now_.regions = heap_->regions();
  }

  void reopen() {
    if (versions_.empty()) return;
    heap_.reset();
    heap_ = open(kLimit);
    // Not longer than it was committed.
    now_ = versions_.rbegin()->second;
  }

  void step() {
    struct Action {
      unsigned weight;
      void (RandomHeap::*run)();
    };
    static constexpr Action kActions[] = {
        {30, &RandomHeap::write},       {30, &RandomHeap::read},  {10, &RandomHeap::discard},
        {10, &RandomHeap::hint},        {5, &RandomHeap::commit}, {3, &RandomHeap::roll_back},
        {8, &RandomHeap::change_lines}, {3, &RandomHeap::grow},   {1, &RandomHeap::reopen}};
    std::uint64_t chosen = pick(100);
    for (const Action& action : kActions) {
      if (chosen < action.weight) return (this->*action.run)();
      chosen -= action.weight;
    }
  }

  static constexpr std::uint64_t kLimit = kMiB;  // 16 of the longest lines
  std::mt19937_64 random_;
  std::unique_ptr<Heap> heap_;
  Model now_;
  std::map<std::uint64_t, Model> versions_;
};

TEST_F(RandomHeap, HoldsWhatItsModelHolds) {
  std::uint64_t seed = setting("CKPT_HEAP_SEED", std::random_device{}());
  std::uint64_t steps = setting("CKPT_HEAP_STEPS", 1500);
  random_.seed(seed);
  heap_ = Heap::create(path(),
                       {.size = 16 * kMiB,
                        .regions = {{.begin = 4 * kMiB, .size = 4 * kMiB, .line_bytes = 65536},
                                    {.begin = 8 * kMiB, .size = 2 * kMiB, .line_bytes = 16384}}},
                       {.resident_limit = kLimit});
  now_ = {.words = std::vector<std::uint64_t>(heap_->size() / kHeapPage), .regions = heap_->regions()};
  for (std::uint64_t i = 0; i < steps && !HasFailure(); ++i) {
    step();
    ASSERT_EQ(heap_->regions(), now_.regions);
    Statistics now = heap_->statistics();
    ASSERT_LE(now.resident_bytes, kLimit);
    ASSERT_EQ(now.failure, "");
  }
  for (std::uint64_t page = kFirstPage; page < page_count() && !HasFailure(); ++page)
    EXPECT_EQ(word(page), now_.words[page]) << "page " << page;
  if (HasFailure())
    ADD_FAILURE() << "CKPT_HEAP_SEED=" << seed << " CKPT_HEAP_STEPS=" << steps << " repeats it";
}

}  // namespace
}  // namespace ckpt::vmheap
