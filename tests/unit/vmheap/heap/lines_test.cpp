// Lines by number, in sets, without a heap's memory.
#include "vmheap/lines.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <numeric>
#include <thread>

#include "store/system_calls.h"
#include "support/failing_calls.h"
#include "support/temporary_directory.h"

namespace ckpt::vmheap {
namespace {

using Number = Lines::Number;

class LinesTest : public testing::Test {
 protected:
  ~LinesTest() override { store::system_calls() = original_; }

  std::unique_ptr<Lines> open(std::uint32_t line_bytes = 4096) {
    return Lines::open(path(), {.line_bytes = line_bytes});
  }
  std::string path() const { return directory_.file("vm.lines"); }

  static std::vector<std::byte> filled(const Lines& lines, int with) {
    return std::vector<std::byte>(lines.line_bytes(), static_cast<std::byte>(with));
  }
  static void write(Lines& lines, Number number, int with) {
    std::vector<std::byte> bytes = filled(lines, with);
    lines.write(std::array{Lines::Line{.number = number, .bytes = bytes}});
  }
  // What the line is filled with; -1: not one value.
  static int value(const Lines& lines, Number number) {
    std::vector<std::byte> bytes(lines.line_bytes());
    lines.read(std::array{number}, bytes);
    bool same = std::ranges::all_of(bytes, [&](std::byte each) { return each == bytes.front(); });
    return same ? static_cast<int>(bytes.front()) : -1;
  }

 private:
  store::SystemCalls original_ = store::system_calls();
  tests::TemporaryDirectory directory_;
};

TEST_F(LinesTest, ComeBackAfterACommit) {
  for (std::uint32_t line_bytes : {4096U, 65536U}) {
    std::filesystem::remove_all(path());
    auto lines = open(line_bytes);
    write(*lines, 7, 1);
    write(*lines, (16ULL << 40) / line_bytes - 1, 2);
    EXPECT_EQ(value(*lines, 7), 1);  // before the commit, too
    EXPECT_GT(lines->commit(), 0U);
    EXPECT_EQ(lines->commit(), 0U);  // nothing to commit
    lines.reset();
    lines = open();
    EXPECT_EQ(lines->line_bytes(), line_bytes);
    EXPECT_EQ(value(*lines, 7), 1);
    EXPECT_EQ(value(*lines, 8), 0);
    EXPECT_EQ(value(*lines, (16ULL << 40) / line_bytes - 1), 2);
  }
}

TEST_F(LinesTest, WithoutACommitNothingStays) {
  auto lines = open();
  write(*lines, 1, 1);
  lines->commit();
  write(*lines, 1, 2);
  lines->erase(std::array<Number, 1>{1});
  EXPECT_EQ(value(*lines, 1), 0);
  lines->abort();
  EXPECT_EQ(value(*lines, 1), 1);
  write(*lines, 1, 3);
  lines.reset();
  EXPECT_EQ(value(*open(), 1), 1);
}

TEST_F(LinesTest, ErasedLinesAreZeroes) {
  auto lines = open();
  write(*lines, 1, 1);
  write(*lines, 2, 2);
  lines->commit();
  lines->erase(std::array<Number, 1>{1});
  lines->commit();
  lines.reset();
  lines = open();
  EXPECT_EQ(value(*lines, 1), 0);
  EXPECT_EQ(value(*lines, 2), 2);
}

TEST_F(LinesTest, ASetIsNeverSeenInPart) {
  auto lines = open();
  constexpr int kRounds = 100;
  std::vector<Number> numbers(20);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::jthread writer([&] {
    for (int round = 1; round <= kRounds; ++round) {
      std::vector<std::byte> bytes = filled(*lines, round);
      std::vector<Lines::Line> set;
      set.reserve(numbers.size());
      for (Number number : numbers) set.push_back({.number = number, .bytes = bytes});
      lines->write(set);
      if (round % 10 == 0) lines->commit();
      if (round % 10 == 5) lines->abort();
    }
  });
  int seen = 0;
  std::vector<std::byte> all(numbers.size() * lines->line_bytes());
  while (seen != kRounds) {
    lines->read(numbers, all);
    seen = static_cast<int>(all.front());
    ASSERT_TRUE(std::ranges::all_of(all, [&](std::byte each) { return each == all.front(); }));
  }
}

TEST_F(LinesTest, AFailedWriteAborts) {
  auto lines = open();
  write(*lines, 1, 1);
  lines->commit();
  write(*lines, 1, 2);
  store::system_calls().fdatasync = tests::failing_sync;
  store::system_calls().fsync = tests::failing_sync;
  EXPECT_THROW(lines->commit(), Error);
  EXPECT_EQ(value(*lines, 1), 1);
}

TEST_F(LinesTest, VersionsAreReadAndTagged) {
  auto lines = open();
  write(*lines, 1, 1);
  std::uint64_t first = lines->commit();
  lines->tag(first, "good");
  for (int i = 2; i < 10; ++i) {
    write(*lines, 1, i);
    lines->commit();
  }
  auto reader = Lines::open(path(), {.read_only = true, .version = first});
  EXPECT_EQ(value(*reader, 1), 1);
  EXPECT_THROW(write(*reader, 1, 5), Error);
  bool tagged = false;
  for (const HeapVersion& version : lines->versions())
    tagged |= version.tags == std::vector<std::string>{"good"} && version.version == first;
  EXPECT_TRUE(tagged);
  lines->untag("good");
  write(*lines, 1, 11);
  lines->commit();
  EXPECT_LE(lines->versions().size(), 3U);
}

TEST_F(LinesTest, WhatCannotBeIsRefused) {
  auto lines = open();
  std::vector<std::byte> bytes = filled(*lines, 1);
  EXPECT_THROW(write(*lines, 1ULL << 40, 1), Error);
  EXPECT_THROW(lines->write(std::array{Lines::Line{.number = 1, .bytes = std::span(bytes).first(100)}}),
               Error);
  EXPECT_THROW(lines->read(std::array<Number, 2>{1, 2}, bytes), Error);
  EXPECT_THROW(Lines::open(path(), {}), Error);  // one writer
  EXPECT_THROW(Lines::open(path(), {.version = 1}), Error);
  EXPECT_THROW(Heap::open(path(), {.name = "lines"}), Error);
  Heap::create(path(), {.size = 1 << 20});
  EXPECT_THROW(Lines::open(path(), {.name = "heap"}), Error);
}

}  // namespace
}  // namespace ckpt::vmheap
