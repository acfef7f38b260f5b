// Heaps whose parts have lines of several sizes.
#include "heap/regions.h"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "base/error.h"
#include "heap/heap_format.h"
#include "heap_fixture.h"
#include "store/system_calls.h"
#include "vmheap/tools.h"
#include "vmheap/vmheap.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kKiB = 1024;

// ---- regions themselves

TEST(Regions, OneReplacesWhatWasThere) {
  Regions regions{{.begin = 0, .size = 8 * kMiB, .line_bytes = 4096}};
  regions = replace_region(regions, {.begin = 2 * kMiB, .size = kMiB, .line_bytes = 65536});
  regions = replace_region(regions, {.begin = 3 * kMiB, .size = kMiB, .line_bytes = 65536});
  EXPECT_EQ(regions, (Regions{{.begin = 0, .size = 2 * kMiB, .line_bytes = 4096},
                              {.begin = 2 * kMiB, .size = 2 * kMiB, .line_bytes = 65536},
                              {.begin = 4 * kMiB, .size = 4 * kMiB, .line_bytes = 4096}}));
  regions = replace_region(regions, {.begin = 8 * kMiB, .size = kMiB, .line_bytes = 8192});
  EXPECT_EQ(regions.size(), 4U);
  check_regions(regions, 9 * kMiB);
  regions = replace_region(regions, {.begin = 0, .size = 9 * kMiB, .line_bytes = 4096});
  EXPECT_EQ(regions, (Regions{{.begin = 0, .size = 9 * kMiB, .line_bytes = 4096}}));
}

TEST(Regions, WhatIsBehindGoesOnAsFarAsItsLinesFit) {
  Regions then{{.begin = 0, .size = kMiB + 4096, .line_bytes = 4096}};
  Regions now{{.begin = 0, .size = 2 * kMiB, .line_bytes = 65536},
              {.begin = 2 * kMiB, .size = 2 * kMiB, .line_bytes = kMiB}};
  EXPECT_EQ(extend(then, now), (Regions{{.begin = 0, .size = kMiB + 65536, .line_bytes = 4096},
                                        {.begin = kMiB + 65536, .size = kMiB - 65536, .line_bytes = 65536},
                                        {.begin = 2 * kMiB, .size = 2 * kMiB, .line_bytes = kMiB}}));
  EXPECT_EQ(extend(now, then), now);
}

TEST(Regions, ThoseOfAHeapAreInItsImage) {
  HeapGeometry geometry{.base = 1ULL << 40,
                        .size = 4 * kMiB,
                        .regions = {{.begin = 0, .size = kMiB, .line_bytes = 4096},
                                    {.begin = kMiB, .size = 3 * kMiB, .line_bytes = kMiB}}};
  std::vector<std::byte> image = image_of(geometry);
  EXPECT_EQ(image.size(), 80U);
  HeapGeometry found = parse_geometry(image, "image");
  EXPECT_EQ(found.base, geometry.base);
  EXPECT_EQ(found.regions, geometry.regions);
  EXPECT_THROW(parse_geometry(std::span(image).first(79), "image"), Error);
  image[64] = std::byte{1};  // begins where no line does
  EXPECT_THROW(parse_geometry(image, "image"), Error);
}

// As heaps were when a heap had one size of lines.
TEST(Regions, AHeapOfOneRegionHasTheOldImage) {
  std::array<std::uint64_t, 8> old{0, 1ULL << 40, 4 * kMiB, 65536, 0, 0, 0, 0};
  std::memcpy(old.data(), "VMHEAP1\n", 8);
  HeapGeometry found = parse_geometry(std::as_bytes(std::span(old)), "image");
  EXPECT_EQ(found.regions, (Regions{{.begin = 0, .size = 4 * kMiB, .line_bytes = 65536}}));
  EXPECT_TRUE(std::ranges::equal(image_of(found), std::as_bytes(std::span(old))));
}

// ---- heaps

class RegionsOfHeap : public HeapFixture {
 protected:
  ~RegionsOfHeap() override { store::system_calls() = original_; }

  // 4 KiB up to 2 MiB, then 64 KiB up to 8 MiB, then 4 KiB, then 16 KiB.
  std::unique_ptr<Heap> create_mixed(std::uint64_t resident = 2 * kMiB) {
    return Heap::create(path(),
                        {.size = 16 * kMiB,
                         .regions = {{.begin = 2 * kMiB, .size = 6 * kMiB, .line_bytes = 65536},
                                     {.begin = 12 * kMiB, .size = 4 * kMiB, .line_bytes = 16384}}},
                        {.resident_limit = resident});
  }

  // All that can be allocated, in one piece, over all regions.
  static char* fill(Heap& heap) {
    auto* memory = static_cast<char*>(heap.allocate(heap.size() - 512 * kKiB));
    heap.set_root("memory", memory);
    for (std::uint64_t i = 0; i < heap.size() - 512 * kKiB; i += 1000) memory[i] = value(i);
    return memory;
  }
  static char value(std::uint64_t i) { return static_cast<char>(i / 1000 % 127 + 1); }
  static void check(const Heap& heap) {
    const auto* memory = static_cast<char*>(heap.root("memory"));
    for (std::uint64_t i = 0; i < 15 * kMiB; i += 1000) ASSERT_EQ(memory[i], value(i)) << "at " << i;
    EXPECT_LE(heap.statistics().resident_bytes, heap.statistics().resident_limit_bytes);
  }

  store::SystemCalls original_ = store::system_calls();
};

TEST_F(RegionsOfHeap, AreChosenAtCreationAndStay) {
  std::vector<HeapRegion> regions;
  {
    auto heap = create_mixed();
    regions = heap->regions();
    EXPECT_EQ(regions.size(), 4U);
    fill(*heap);
    check(*heap);
    heap->commit();
    check(*heap);
  }
  auto heap = open(2 * kMiB);
  EXPECT_EQ(heap->regions(), regions);
  check(*heap);
  EXPECT_EQ(summarize(path()).regions, regions);
}

TEST_F(RegionsOfHeap, AFaultBringsTheLineOfItsRegion) {
  {
    auto heap = create_mixed();
    fill(*heap);
    heap->commit();
  }
  auto heap = open(4 * kMiB);
  auto resident_after = [&](std::uint64_t offset) {
    std::uint64_t before = heap->statistics().resident_bytes;
    volatile char touched = reinterpret_cast<char*>(heap->base())[offset];
    EXPECT_GE(touched, 0);
    return heap->statistics().resident_bytes - before;
  };
  EXPECT_EQ(resident_after(kMiB + 5000), 4096U);
  EXPECT_EQ(resident_after(5 * kMiB + 5000), 65536U);
  EXPECT_EQ(resident_after(8 * kMiB), 4096U);
  EXPECT_EQ(resident_after(13 * kMiB + 100 * kKiB), 16384U);
}

TEST_F(RegionsOfHeap, LimitMustFitTheLongestLines) {
  EXPECT_THROW(create_mixed(kMiB - 4096), Error);
  auto heap = create_mixed(kMiB);
  EXPECT_THROW(heap->set_resident_limit(kMiB - 4096), Error);
  EXPECT_THROW(heap->set_line_bytes(heap->base(), kMiB, 128 * kKiB), Error);
  EXPECT_THROW(heap->grow(32 * kMiB, kMiB), Error);
  EXPECT_EQ(heap->size(), 16 * kMiB);
  fill(*heap);
  check(*heap);
}

TEST_F(RegionsOfHeap, WhatIsAddedHasItsOwnLines) {
  {
    auto heap = create_mixed(4 * kMiB);
    heap->grow(20 * kMiB, 128 * kKiB);
    heap->grow(24 * kMiB);
    EXPECT_EQ(heap->regions().back(),
              (HeapRegion{.begin = 16 * kMiB, .size = 8 * kMiB, .line_bytes = 128 * kKiB}));
    EXPECT_THROW(heap->grow(24 * kMiB + 4096), Error);
    fill(*heap);
    heap->commit();
    heap->grow(24 * kMiB + 4096, 4096);
    heap->commit();
  }
  auto heap = open();
  EXPECT_EQ(heap->regions().size(), 6U);
  check(*heap);
}

// Lines become longer and shorter, whatever state they are in.
TEST_F(RegionsOfHeap, LinesChangeAndTheirContentDoesNot) {
  for (std::uint32_t line : {4096U, 65536U, 16384U}) {
    SCOPED_TRACE(line);
    std::filesystem::remove_all(path());
    std::vector<HeapRegion> regions;
    {
      auto heap = create_mixed();
      char* memory = fill(*heap);  // much of it is stored early
      heap->set_line_bytes(heap->base() + 2 * kMiB, 8 * kMiB, line);
      check(*heap);
      heap->commit();
      for (std::uint64_t i = 3 * kMiB; i < 3 * kMiB + 200 * kKiB; i += 1000) memory[i / 1000 * 1000] = 0;
      heap->roll_back();
      check(*heap);
      heap->set_line_bytes(heap->base(), heap->size(), 65536);
      check(*heap);
      heap->set_line_bytes(heap->base() + 4 * kMiB, kMiB, line);
      check(*heap);
      regions = heap->regions();
      heap->commit();
    }
    auto heap = open();
    EXPECT_EQ(heap->regions(), regions);
    check(*heap);
  }
}

TEST_F(RegionsOfHeap, WhatIsEmptyStaysEmptyWhenLinesGrow) {
  {
    auto heap = create_mixed();
    char* memory = fill(*heap);
    heap->commit();
    auto* begin = reinterpret_cast<char*>(heap->base()) + 9 * kMiB;
    heap->discard(begin + 4096, 8192);
    heap->set_line_bytes(begin, kMiB, 65536);
    EXPECT_TRUE(std::all_of(begin + 4096, begin + 4096 + 8192, [](char c) { return c == 0; }));
    EXPECT_EQ(std::count_if(begin, begin + 65536, [](char c) { return c != 0; }), 66 - 8);
    heap->roll_back();
    EXPECT_NE(memory, nullptr);
    check(*heap);
    heap->discard(begin + 4096, 8192);
    heap->set_line_bytes(begin, kMiB, 65536);
    heap->commit();
  }
  auto heap = open();
  const auto* begin = reinterpret_cast<char*>(heap->base()) + 9 * kMiB;
  EXPECT_EQ(std::count_if(begin, begin + 65536, [](char c) { return c != 0; }), 66 - 8);
}

TEST_F(RegionsOfHeap, WhatIsPinnedOrNeverSavedKeepsItsLines) {
  auto heap = create_mixed();
  std::byte* begin = heap->base() + 9 * kMiB;
  {
    Pin pin(*heap, begin + 5000, 1, PinFor::kReading);
    EXPECT_THROW(heap->set_line_bytes(begin, kMiB, 16384), Error);
    heap->set_line_bytes(begin + kMiB, kMiB, 16384);
  }
  heap->set_kind(begin + 65536, 65536, RangeKind::kNursery);
  EXPECT_THROW(heap->set_line_bytes(begin, kMiB, 16384), Error);
  heap->set_kind(begin + 65536, 65536, RangeKind::kNormal);
  heap->set_line_bytes(begin, kMiB, 16384);
  EXPECT_EQ(heap->regions().size(), 6U);
}

TEST_F(RegionsOfHeap, WhatCannotBeIsRefused) {
  auto heap = create_mixed();
  EXPECT_THROW(heap->set_line_bytes(heap->base() + 4096, kMiB, 65536), Error);
  EXPECT_THROW(heap->set_line_bytes(heap->base(), kMiB, 5000), Error);
  EXPECT_THROW(heap->set_line_bytes(heap->base() + 2 * kMiB + 4096, 4096, 4096),
               Error);  // half a line is left
  EXPECT_THROW(heap->set_line_bytes(heap->base() - 4096, 4096, 4096), Error);
  EXPECT_THROW(Heap::create(path(), {.regions = {{.begin = 4096, .size = 65536, .line_bytes = 65536}}},
                            {.name = "other"}),
               Error);
  heap.reset();
  auto reader = Heap::open(path(), {.read_only = true});
  EXPECT_THROW(reader->set_line_bytes(reader->base(), kMiB, 16384), Error);
}

TEST_F(RegionsOfHeap, ARollbackBringsBackThoseOfTheVersion) {
  auto heap = create_mixed(16 * kMiB);
  fill(*heap);
  std::vector<HeapRegion> mixed = heap->regions();
  std::uint64_t before = heap->commit();
  heap->set_line_bytes(heap->base(), heap->size(), kMiB);
  heap->roll_back();
  EXPECT_EQ(heap->regions(), mixed);
  check(*heap);
  heap->set_line_bytes(heap->base(), heap->size(), kMiB);
  heap->grow(20 * kMiB);
  std::uint64_t after = heap->commit();
  heap->set_resident_limit(16 * kMiB);
  check(*heap);
  heap->roll_back(before);
  EXPECT_EQ(heap->regions().size(), 5U);  // with what was added
  check(*heap);
  heap->set_resident_limit(16 * kMiB);
  heap->roll_back(after);
  EXPECT_EQ(heap->regions().size(), 1U);
  check(*heap);
}

// By ckpt heap rollback, say: the versions after it are longer.
TEST_F(RegionsOfHeap, AHeapGoesToALongerVersion) {
  std::uint64_t longer = 0;
  {
    auto heap = create_mixed();
    fill(*heap);
    heap->commit();
    heap->grow(24 * kMiB, 16384);
    auto* added = static_cast<char*>(heap->allocate(4 * kMiB));
    added[3 * kMiB] = 7;
    heap->set_root("added", added);
    longer = heap->commit();
  }
  roll_back(path(), longer - 1);
  auto heap = open(2 * kMiB);
  EXPECT_EQ(heap->size(), 16 * kMiB);
  heap->roll_back(longer);
  EXPECT_EQ(heap->size(), 24 * kMiB);
  EXPECT_EQ(static_cast<char*>(heap->root("added"))[3 * kMiB], 7);
  check(*heap);
}

TEST_F(RegionsOfHeap, ARollbackIsRefusedWhereItsLinesAreTooLongForTheLimit) {
  auto heap = create_mixed(16 * kMiB);
  heap->set_line_bytes(heap->base(), heap->size(), kMiB);
  std::uint64_t* number = numbers(*heap, "number", 1);
  *number = 1;
  std::uint64_t version = heap->commit();
  heap->set_line_bytes(heap->base(), heap->size(), 4096);
  heap->commit();
  heap->set_resident_limit(kMiB);
  *number = 2;
  EXPECT_THROW(heap->roll_back(version), Error);
  EXPECT_EQ(*number, 2U);
  heap->roll_back();
  EXPECT_EQ(*number, 1U);
}

TEST_F(RegionsOfHeap, RangesGoAcrossRegions) {
  auto heap = create_mixed();
  fill(*heap);
  heap->commit();
  auto* edge = reinterpret_cast<char*>(heap->base()) + 2 * kMiB;
  {
    Pin pin(*heap, edge - 4097, 4096 + 65536, PinFor::kWriting);  // three lines
    heap->cold(heap->base(), heap->size());
    std::memset(edge - 4096, 'p', 4096 + 65536);
    heap->commit();
  }
  heap->discard(edge - 4096, 4096 + 65536 + 4096);  // the last line is not whole
  EXPECT_EQ(edge[-1], 0);
  EXPECT_EQ(edge[65535], 0);
  auto marks = std::count_if(edge + 65536, edge + 2 * 65536, [](char c) { return c != 0; });
  EXPECT_GE(marks, 65);
  heap->roll_back();
  EXPECT_EQ(edge[-1], 'p');
  EXPECT_EQ(edge[65535], 'p');
  heap->set_kind(edge - 8192, 8192 + 65536, RangeKind::kSystem);
  std::memset(edge - 8192, 's', 8192 + 65536);
  heap->commit();
  heap->roll_back();
  EXPECT_EQ(edge[-8192], 's');
  EXPECT_EQ(edge[65535], 's');
  heap.reset();
  heap = open();
  edge = reinterpret_cast<char*>(heap->base()) + 2 * kMiB;
  EXPECT_EQ(edge[-8192], 0);
  EXPECT_EQ(edge[65535], 0);
}

TEST_F(RegionsOfHeap, WritersGoOnWhileLinesChange) {
  auto heap = create_mixed();
  constexpr std::size_t kEach = 512 * kKiB;
  std::uint64_t* data = numbers(*heap, "data", 2 * kEach);
  std::atomic<bool> done = false;
  std::vector<std::thread> writers;
  for (std::size_t t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      std::vector<std::uint64_t> own(kEach / 256);
      for (std::mt19937_64 random(t); !done;) {
        std::size_t i = random() % own.size();
        ASSERT_EQ(data[i * 512 + t], own[i]);
        data[i * 512 + t] = own[i] = random();
      }
    });
  }
  for (unsigned round = 0; round < 60; ++round) {
    std::uint32_t line = 4096U << round * 7 % 5;
    heap->set_line_bytes(heap->base() + round % 12 * kMiB, 4 * kMiB, line);
    if (round % 4 == 0) heap->commit_in_background();
  }
  done = true;
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(heap->statistics().failure, "");
}

TEST_F(RegionsOfHeap, WhereNothingCanBeStoredLinesStayAsTheyAre) {
  auto heap = create_mixed(64 * kMiB);
  std::vector<HeapRegion> regions = heap->regions();
  char* memory = fill(*heap);
  heap->commit();
  memory[3 * kMiB] = 55;
  store::system_calls().openat = [](int, const char*, int, mode_t) {
    errno = ENOSPC;
    return -1;
  };
  EXPECT_THROW(heap->set_line_bytes(heap->base(), heap->size(), 4096), Error);
  EXPECT_EQ(heap->regions(), regions);
  EXPECT_EQ(memory[3 * kMiB], 55);
  memory[3 * kMiB + 1] = 56;
  store::system_calls() = original_;
  heap->set_line_bytes(heap->base(), heap->size(), 4096);
  EXPECT_EQ(heap->regions().size(), 1U);
  heap->commit();
  heap->roll_back();
  EXPECT_EQ(memory[3 * kMiB], 55);
  EXPECT_EQ(memory[3 * kMiB + 1], 56);
}

TEST_F(RegionsOfHeap, ExportedAndImportedTheyStay) {
  std::vector<HeapRegion> regions;
  {
    auto heap = create_mixed();
    fill(*heap);
    heap->commit();
    regions = heap->regions();
  }
  export_heap(path(), path() + ".file");
  std::filesystem::remove_all(path());
  import_heap(path(), path() + ".file");
  compact(path());
  auto heap = open();
  EXPECT_EQ(heap->regions(), regions);
  check(*heap);
}

TEST_F(RegionsOfHeap, AreThereInC) {
  ::vmheap_options options{.size = 16 * kMiB,
                           .line_bytes = 0,
                           .keep = 0,
                           .resident_limit = 4 * kMiB,
                           .name = nullptr,
                           .read_only = 0,
                           .base = 0,
                           .version = 0,
                           .fault_threads = 0};
  ::vmheap* heap = vmheap_open(path().c_str(), &options);
  ASSERT_NE(heap, nullptr) << vmheap_error();
  EXPECT_EQ(vmheap_grow(heap, 24 * kMiB, 65536), 0) << vmheap_error();
  auto* begin = static_cast<char*>(vmheap_base(heap));
  EXPECT_EQ(vmheap_set_line_bytes(heap, begin + 8 * kMiB, kMiB, 16384), 0) << vmheap_error();
  EXPECT_EQ(vmheap_set_line_bytes(heap, begin + 4096, kMiB, 16384), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_GT(vmheap_commit(heap), 0U);
  vmheap_close(heap);
  EXPECT_EQ(summarize(path()).regions.size(), 4U);
}

}  // namespace
}  // namespace ckpt::vmheap
