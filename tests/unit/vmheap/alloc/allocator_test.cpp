#include "alloc/allocator.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "alloc/size_classes.h"
#include "base/error.h"

namespace ckpt::vmheap {
namespace {

// Plain memory in the place of a heap.
class AllocatorTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSize = 64ULL << 20;
  AllocatorTest()
      : base_(static_cast<std::byte*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    Allocator::format(base_, kSize);
  }
  ~AllocatorTest() override { ::munmap(base_, kSize); }
  Allocator attach() {
    return {base_, kSize,
            [](std::byte* begin, std::uint64_t size) { ::madvise(begin, size, MADV_DONTNEED); }};
  }
  std::uint64_t allocated() const { return reinterpret_cast<Superblock*>(base_)->bytes_allocated; }

  std::byte* base_;
};

TEST(SizeClassesTest, EverySizeFitsItsClassAndNoSmallerOne) {
  for (std::size_t size = 1; size <= kMostSmallBytes; ++size) {
    std::size_t found = class_of(size);
    ASSERT_LT(found, kClasses);
    ASSERT_GE(class_bytes(found), size);
    ASSERT_TRUE(found == 0 || class_bytes(found - 1) < size);
  }
}

TEST_F(AllocatorTest, ObjectsDoNotOverlapAndKeepTheirContent) {
  Allocator allocator = attach();
  std::mt19937 random(1);
  struct Object {
    std::size_t size;
    unsigned char mark;
  };
  std::map<unsigned char*, Object> live;
  for (int step = 0; step < 20000; ++step) {
    if (live.size() > 300 || (!live.empty() && random() % 3 == 0)) {
      auto victim = std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
      for (std::size_t i = 0; i < victim->second.size; ++i) ASSERT_EQ(victim->first[i], victim->second.mark);
      allocator.deallocate(victim->first);
      live.erase(victim);
    } else {
      std::size_t size = random() % 50 == 0 ? random() % 200000 : random() % 3000;
      std::size_t alignment = std::size_t{1} << random() % 13;
      auto* memory = static_cast<unsigned char*>(allocator.allocate(size, alignment));
      ASSERT_NE(memory, nullptr);
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(memory) % std::max<std::size_t>(alignment, 16), 0U);
      ASSERT_GE(allocator.usable_size(memory), size);
      auto mark = static_cast<unsigned char>(random());
      std::memset(memory, mark, size);
      live[memory] = {.size = size, .mark = mark};
    }
  }
  for (auto& [memory, object] : live) allocator.deallocate(memory);
  EXPECT_LE(allocated(), kClasses * kSpanBytes) << "one empty slab per class may stay";
}

TEST_F(AllocatorTest, SaysWhenTheHeapIsFullAndRecovers) {
  Allocator allocator = attach();
  std::vector<void*> all;
  while (void* memory = allocator.allocate(1 << 20, 16)) all.push_back(memory);
  EXPECT_GT(all.size(), 50U);
  EXPECT_EQ(allocator.allocate(kSize, 16), nullptr);
  for (void* memory : all) allocator.deallocate(memory);
  EXPECT_EQ(allocated(), 0U);
  EXPECT_NE(allocator.allocate(32 << 20, 16), nullptr);
}

TEST_F(AllocatorTest, StateIsInTheHeap) {
  void* memory = nullptr;
  {
    Allocator allocator = attach();
    memory = allocator.allocate(100, 16);
    allocator.set_root("it", memory);
  }
  Allocator allocator = attach();
  EXPECT_EQ(allocator.root("it"), memory);
  EXPECT_NE(allocator.allocate(100, 16), memory);
  allocator.deallocate(memory);
  allocator.set_root("it", nullptr);
  EXPECT_EQ(allocator.root("it"), nullptr);
}

TEST_F(AllocatorTest, RootsAreManyAndNamed) {
  Allocator allocator = attach();
  for (std::size_t i = 0; i < kRoots; ++i) allocator.set_root(std::to_string(i), base_ + i);
  EXPECT_EQ(allocator.root("200"), base_ + 200);
  EXPECT_THROW(allocator.set_root("one more", base_), Error);
  EXPECT_THROW(allocator.set_root(std::string(56, 'x'), base_), Error);
  allocator.set_root("7", nullptr);
  allocator.set_root("one more", base_);
  EXPECT_EQ(allocator.root(""), nullptr);
}

TEST_F(AllocatorTest, ThreadsFreeEachOthersObjects) {
  Allocator allocator = attach();
  constexpr std::size_t kThreads = 4;
  std::array<std::vector<void*>, kThreads> made;
  auto in_threads = [&](auto&& work) {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) threads.emplace_back([&, t] { work(t); });
    for (std::thread& thread : threads) thread.join();
  };
  for (int round = 0; round < 3; ++round) {
    in_threads([&](std::size_t t) {
      for (std::size_t i = 0; i < 2000; ++i) made[t].push_back(allocator.allocate(16 + i % 500, 16));
    });
    in_threads([&](std::size_t t) {
      for (void* memory : made[(t + 1) % kThreads]) allocator.deallocate(memory);
    });
    for (auto& objects : made) objects.clear();
  }
  EXPECT_LE(allocated(), kArenas * kClasses * kSpanBytes);
}

TEST_F(AllocatorTest, RefusesWhatIsNoHeap) {
  std::memset(base_, 'x', 8);
  EXPECT_THROW(attach(), Error);
}

}  // namespace
}  // namespace ckpt::vmheap
