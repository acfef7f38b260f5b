// Whenever the power fails while a heap is worked with, the newest version that was reported durable is
// found, or one after it, and in it exactly what was in the heap at that commit: its words, its objects, its
// length.
//
//   CKPT_SOAK=full   100 rounds of work instead of 2, with three failures after every call instead of one
//   CKPT_HEAP_SEED   repeats another run

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <string_view>

#include "heap_fixture.h"
#include "power_loss_support.h"
#include "store/checkpoint_store.h"

namespace ckpt::vmheap {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kWordPages = 4 * kMiB / kPage;

bool is_soak() {
  const char* soak = std::getenv("CKPT_SOAK");
  return soak != nullptr && std::string_view(soak) == "full";
}

// An object in a list that begins at the root "objects".
struct Object {
  Object* next;
  std::uint64_t size;  // of the bytes after it
};

struct Model {
  std::map<std::size_t, std::uint64_t> words;       // by page; others are 0
  std::vector<std::vector<unsigned char>> objects;  // the list's last one first
  std::uint64_t size = 0;
};

class PowerLossOfHeap : public testing::Test {
 protected:
  // Works with a new heap, then has the power fail after every call.
  void torture(std::uint64_t seed) {
    random_.seed(seed);
    std::filesystem::remove_all(store());
    store::Store::open(store(), true).create_application("app");
    recording_.emplace(store());
    models_.clear();
    promises_.clear();
    work();
    heap_.reset();
    store::SystemCalls recorded = std::exchange(store::system_calls(), recording_->real);
    for (std::size_t calls = 0; calls <= recording_->call_count() && !HasFailure(); ++calls) {
      constexpr std::array kLeftovers = {store::Leftover::kNone, store::Leftover::kAll,
                                         store::Leftover::kSome};
      for (std::size_t i = 0; i < kLeftovers.size(); ++i) {
        if (is_soak() || i == calls % kLeftovers.size()) fail_after(calls, kLeftovers.at(i));
      }
    }
    if (HasFailure()) ADD_FAILURE() << "seed " << seed;
    store::system_calls() = recorded;
    recording_.reset();
  }

  std::size_t failures_ = 0;

 private:
  std::string store() const { return directory_.file("store"); }
  std::uint64_t pick(std::uint64_t below) { return random_() % below; }

  void work() {
    now_ = {.words = {}, .objects = {}, .size = 16 * kMiB};
    heap_ = Heap::create(
        store(), {.size = now_.size, .regions = {{.begin = kMiB, .size = 2 * kMiB, .line_bytes = 65536}}},
        {.resident_limit = 2 * kMiB, .keep = 2, .name = "app"});
    promise(heap_->statistics().version, {.words = {}, .objects = {}, .size = now_.size}, false);
    words_ = static_cast<char*>(heap_->allocate(kWordPages * kPage, kPage));
    heap_->set_root("words", words_);
    for (int step = 0; step < 40; ++step) {
      switch (pick(8)) {
        case 0:
          commit();
          break;
        case 1:
          roll_back();
          break;
        case 2:
          grow();
          break;
        case 3:
          heap_->set_line_bytes(heap_->base() + pick(8) * kMiB, kMiB,
                                static_cast<std::uint32_t>(kPage << pick(5)));
          break;
        case 4:
          discard();
          break;
        case 5:
          remove_objects();
          break;
        default:
          change();
      }
    }
    commit();
  }

  void change() {
    // Now and then more than the resident limit, so that some is stored early.
    for (std::uint64_t left = pick(5) == 0 ? 800 : pick(40); left > 0; --left) {
      std::size_t page = pick(kWordPages);
      std::uint64_t value = random_();
      std::memcpy(words_ + page * kPage, &value, sizeof value);
      now_.words[page] = value;
    }
    for (std::uint64_t left = pick(10); left > 0; --left) {
      std::vector<unsigned char> bytes(pick(8) == 0 ? pick(100'000) : pick(3000),
                                       static_cast<unsigned char>(pick(256)));
      auto* object = static_cast<Object*>(heap_->allocate(sizeof(Object) + bytes.size()));
      *object = {.next = static_cast<Object*>(heap_->root("objects")), .size = bytes.size()};
      std::ranges::copy(bytes, reinterpret_cast<unsigned char*>(object + 1));
      heap_->set_root("objects", object);
      now_.objects.push_back(std::move(bytes));
    }
  }

  void remove_objects() {
    for (std::uint64_t left = pick(10); left > 0 && !now_.objects.empty(); --left) {
      auto* object = static_cast<Object*>(heap_->root("objects"));
      heap_->set_root("objects", object->next);
      heap_->deallocate(object);
      now_.objects.pop_back();
    }
  }

  void discard() {
    std::size_t page = pick(kWordPages - 64);
    heap_->discard(words_ + page * kPage, 64 * kPage);
    // Only lines that are whole went: what became of the others is looked up.
    for (std::size_t i = page; i < page + 64; ++i) {
      std::uint64_t value = 0;
      std::memcpy(&value, words_ + i * kPage, sizeof value);
      if (value == 0) now_.words.erase(i);
    }
  }

  void grow() {
    if (now_.size >= 64 * kMiB) return;
    heap_->grow(now_.size + kMiB, static_cast<std::uint32_t>(kPage << pick(5)));
    now_.size += kMiB;
  }

  void commit() {
    heap_->commit_in_background();
    Model committed = now_;
    change();
    promise(heap_->wait_for_commit(), committed, true);
  }

  void roll_back() {
    if (!models_.rbegin()->second.words_exist) return;
    std::uint64_t size = now_.size;
    heap_->roll_back();
    now_ = models_.rbegin()->second.model;
    now_.size = size;
  }

  void promise(std::uint64_t version, Model model, bool words_exist) {
    models_[version] = {.model = std::move(model), .words_exist = words_exist};
    promises_.emplace_back(recording_->call_count(), version);
  }

  void fail_after(std::size_t calls, store::Leftover leftover) {
    std::string found = directory_.file("found");
    recording_->state_after(calls, leftover, random_, found);
    std::uint64_t promised = 0;
    for (auto [given_after, version] : promises_) {
      if (given_after <= calls) promised = version;
    }
    try {
      auto heap = Heap::open(found, {.resident_limit = 2 * kMiB, .name = "app"});
      EXPECT_GE(heap->statistics().version, promised);
      check(*heap);
    } catch (const Error& error) {
      EXPECT_EQ(promised, 0U) << error.what();
    }
    std::filesystem::remove_all(found);
    ++failures_;
  }

  void check(Heap& heap) const {
    auto committed = models_.find(heap.statistics().version);
    ASSERT_NE(committed, models_.end()) << "a version that was never made";
    const Model& model = committed->second.model;
    EXPECT_EQ(heap.size(), model.size);
    const auto* words = static_cast<char*>(heap.root("words"));
    ASSERT_EQ(words != nullptr, committed->second.words_exist);
    for (std::size_t page = 0; page < kWordPages && words != nullptr; ++page) {
      std::uint64_t value = 0;
      std::memcpy(&value, words + page * kPage, sizeof value);
      auto expected = model.words.find(page);
      ASSERT_EQ(value, expected == model.words.end() ? 0 : expected->second) << "page " << page;
    }
    auto* object = static_cast<Object*>(heap.root("objects"));
    for (auto bytes = model.objects.rbegin(); bytes != model.objects.rend(); ++bytes) {
      ASSERT_NE(object, nullptr);
      ASSERT_EQ(object->size, bytes->size());
      ASSERT_TRUE(
          std::ranges::equal(*bytes, std::span(reinterpret_cast<unsigned char*>(object + 1), object->size)));
      Object* next = object->next;
      heap.deallocate(object);  // its allocator is sound, too
      object = next;
    }
    EXPECT_EQ(object, nullptr);
    EXPECT_NE(heap.allocate(100'000), nullptr);
  }

  struct Committed {
    Model model;
    bool words_exist = false;
  };

  tests::TemporaryDirectory directory_{tests::fast_directory()};
  std::mt19937_64 random_;
  std::optional<store::Recording> recording_;
  std::unique_ptr<Heap> heap_;
  char* words_ = nullptr;
  Model now_;
  std::map<std::uint64_t, Committed> models_;                    // by version
  std::vector<std::pair<std::size_t, std::uint64_t>> promises_;  // calls made before, version
};

TEST_F(PowerLossOfHeap, AnyCommitIsFoundWholeOrNotAtAll) {
  const char* given = std::getenv("CKPT_HEAP_SEED");
  std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  for (int round = 0; round < (is_soak() ? 100 : 2) && !HasFailure(); ++round)
    torture(seed + static_cast<unsigned>(round));
  EXPECT_GT(failures_, 50U);
}

}  // namespace
}  // namespace ckpt::vmheap
