// What a program in C finds: the functions of heap.h, failures as values.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "heap_fixture.h"
#include "vmheap/vmheap.h"

namespace ckpt::vmheap {
namespace {

constexpr std::size_t kLine = 4096;

struct Closes {
  void operator()(::vmheap* heap) const { vmheap_close(heap); }
};
using OpenHeap = std::unique_ptr<::vmheap, Closes>;

class HeapInC : public HeapFixture {
 protected:
  OpenHeap open_in_c(void (*change)(vmheap_options&) = [](vmheap_options&) {}) {
    vmheap_options options{};
    options.size = 16 * kMiB;
    options.resident_limit = 4 * kMiB;
    change(options);
    OpenHeap heap(vmheap_open(path().c_str(), &options));
    if (heap == nullptr) ADD_FAILURE() << vmheap_error();
    return heap;
  }
};

TEST_F(HeapInC, IsPlacedWhereItIsAskedFor) {
  constexpr std::uint64_t kAddress = 0x5a0000000000;
  OpenHeap heap = open_in_c([](vmheap_options& options) { options.base = kAddress; });
  EXPECT_EQ(reinterpret_cast<std::uint64_t>(vmheap_base(heap.get())), kAddress);
  auto* begin = static_cast<char*>(vmheap_base(heap.get()));
  EXPECT_EQ(vmheap_contains(heap.get(), begin + vmheap_size(heap.get()) - 1), 1);
  EXPECT_EQ(vmheap_contains(heap.get(), begin + vmheap_size(heap.get())), 0);
}

TEST_F(HeapInC, VersionsAreListedTaggedOpenedAndRemoved) {
  OpenHeap heap = open_in_c();
  auto* number = static_cast<std::uint64_t*>(vmheap_allocate_zeroed(heap.get(), sizeof(std::uint64_t)));
  ASSERT_EQ(vmheap_set_root(heap.get(), "number", number), 0) << vmheap_error();
  *number = 1;
  std::uint64_t first = vmheap_commit(heap.get());
  *number = 2;
  ASSERT_EQ(vmheap_commit_in_background(heap.get()), 0) << vmheap_error();
  std::uint64_t second = vmheap_wait_for_commit(heap.get());
  EXPECT_GT(second, first);
  EXPECT_EQ(vmheap_committing(heap.get()), 0);

  std::array<vmheap_version, 8> versions{};
  int count = vmheap_versions(heap.get(), versions.data(), static_cast<int>(versions.size()));
  ASSERT_GE(count, 2) << vmheap_error();
  EXPECT_EQ(versions.at(static_cast<std::size_t>(count) - 1).version, second);
  EXPECT_EQ(versions.at(static_cast<std::size_t>(count) - 1).parent, first);
  EXPECT_EQ(vmheap_versions(heap.get(), nullptr, 0), count);

  ASSERT_EQ(vmheap_tag(heap.get(), first, "good"), 0) << vmheap_error();
  EXPECT_EQ(vmheap_tagged(heap.get(), "good"), first);
  EXPECT_EQ(vmheap_remove_version(heap.get(), first), -1);
  EXPECT_EQ(errno, EBUSY);
  ASSERT_EQ(vmheap_roll_back(heap.get(), first), 0) << vmheap_error();
  EXPECT_EQ(*number, 1U);
  heap.reset();

  vmheap_options options{};
  options.read_only = 1;
  options.version = first;
  OpenHeap reader(vmheap_open(path().c_str(), &options));
  ASSERT_NE(reader, nullptr) << vmheap_error();
  EXPECT_EQ(*static_cast<std::uint64_t*>(vmheap_root(reader.get(), "number")), 1U);
  reader.reset();

  heap = open_in_c();
  EXPECT_EQ(*static_cast<std::uint64_t*>(vmheap_root(heap.get(), "number")), 2U);
  ASSERT_EQ(vmheap_untag(heap.get(), "good"), 0) << vmheap_error();
  EXPECT_EQ(vmheap_tagged(heap.get(), "good"), 0U);
  EXPECT_EQ(errno, ENOENT);
  EXPECT_EQ(vmheap_remove_version(heap.get(), first), 0) << vmheap_error();
}

TEST_F(HeapInC, MemoryIsAlignedAndZeroedAsAsked) {
  OpenHeap heap = open_in_c();
  auto address = reinterpret_cast<std::uintptr_t>(vmheap_allocate_aligned(heap.get(), 100, 1024));
  EXPECT_NE(address, 0U);
  EXPECT_EQ(address % 1024, 0U);
  auto* zeroed = static_cast<char*>(vmheap_allocate_zeroed(heap.get(), 300));
  EXPECT_EQ(std::string(zeroed, 300), std::string(300, '\0'));
  EXPECT_GE(vmheap_usable_size(heap.get(), zeroed), 300U);
  EXPECT_EQ(vmheap_allocate(heap.get(), 64 * kMiB), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  vmheap_free(heap.get(), zeroed);
}

TEST_F(HeapInC, RangesAreHintedDiscardedAndNotSaved) {
  OpenHeap heap = open_in_c();
  ::vmheap* open = heap.get();
  auto* line = static_cast<char*>(vmheap_base(open)) + 8 * kMiB;
  std::memset(line, 'x', 2 * kLine);
  ASSERT_EQ(vmheap_set_kind(open, line + kLine, kLine, VMHEAP_KIND_SYSTEM), 0) << vmheap_error();
  EXPECT_EQ(vmheap_set_pattern(open, line, kMiB, VMHEAP_PATTERN_RANDOM), 0) << vmheap_error();
  EXPECT_EQ(vmheap_cold(open, line, kLine), 0) << vmheap_error();
  EXPECT_EQ(vmheap_will_need(open, line, kLine), 0) << vmheap_error();
  EXPECT_GT(vmheap_commit(open), 0U) << vmheap_error();
  EXPECT_EQ(line[0], 'x');
  EXPECT_EQ(vmheap_discard(open, line, kLine), 0) << vmheap_error();
  EXPECT_EQ(line[0], '\0');
  ASSERT_EQ(vmheap_roll_back(open, 0), 0) << vmheap_error();
  EXPECT_EQ(line[0], 'x');
  heap = nullptr;
  heap = open_in_c();
  EXPECT_EQ(line[0], 'x');
  EXPECT_EQ(line[kLine], '\0');
}

TEST_F(HeapInC, WhatCannotBeIsSaid) {
  OpenHeap heap = open_in_c();
  void* begin = vmheap_base(heap.get());
  EXPECT_EQ(vmheap_set_pattern(heap.get(), begin, kLine, static_cast<vmheap_pattern>(3)), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(vmheap_set_kind(heap.get(), begin, kLine, static_cast<vmheap_kind>(3)), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(vmheap_set_resident_limit(heap.get(), kLine), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_NE(std::string(vmheap_error()), "");
  EXPECT_EQ(vmheap_set_resident_limit(heap.get(), 8 * kMiB), 0) << vmheap_error();
}

}  // namespace
}  // namespace ckpt::vmheap
