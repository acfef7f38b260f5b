#include "engine/restore/missing_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace ckpt::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

MissingPages pages(std::initializer_list<MissingPiece> pieces) {
  MissingPages missing;
  for (const MissingPiece& piece : pieces) missing.add(piece);
  return missing;
}

TEST(MissingPages, FindsThePieceOfAPage) {
  MissingPages missing = pages({{10, 110, 5}, {20, 120, 1}});
  EXPECT_EQ(missing.find(9), std::nullopt);
  EXPECT_EQ(missing.find(10), (MissingPiece{10, 110, 5}));
  EXPECT_EQ(missing.find(14), (MissingPiece{10, 110, 5}));
  EXPECT_EQ(missing.find(15), std::nullopt);
  EXPECT_EQ(missing.find(20), (MissingPiece{20, 120, 1}));
  EXPECT_EQ(missing.page_count(), 6U);
}

TEST(MissingPages, TellsTheNextMissingPage) {
  MissingPages missing = pages({{10, 110, 5}});
  EXPECT_EQ(missing.next(3), 10U);
  EXPECT_EQ(missing.next(12), 12U);
  EXPECT_EQ(missing.next(15), ~std::uint64_t{0});
}

TEST(MissingPages, WhatIsJoinedIsOnePiece) {
  MissingPages missing = pages({{10, 110, 5}});
  missing.add_joined({15, 115, 3});
  missing.add_joined({18, 200, 2});
  EXPECT_EQ(missing.find(12), (MissingPiece{10, 110, 8}));
  EXPECT_EQ(missing.find(18), (MissingPiece{18, 200, 2}));
  EXPECT_EQ(missing.page_count(), 10U);
  EXPECT_EQ(missing.from_source(115, 2), (std::vector<MissingPiece>{{15, 115, 2}}));
}

TEST(MissingPages, RemovalSplitsAPiece) {
  MissingPages missing = pages({{10, 110, 10}});
  missing.remove(13, 2);
  EXPECT_EQ(missing.find(12), (MissingPiece{10, 110, 3}));
  EXPECT_EQ(missing.find(13), std::nullopt);
  EXPECT_EQ(missing.find(15), (MissingPiece{15, 115, 5}));
  EXPECT_EQ(missing.page_count(), 8U);
}

TEST(MissingPages, RemovalReachesOverSeveralPieces) {
  MissingPages missing = pages({{10, 110, 10}, {30, 200, 10}, {50, 300, 10}});
  missing.remove(15, 40);
  EXPECT_THAT(missing.from_source(0, 1000), ElementsAre(MissingPiece{10, 110, 5}, MissingPiece{55, 305, 5}));
}

TEST(MissingPages, MovedPagesKeepTheirSource) {
  MissingPages missing = pages({{10, 110, 10}});
  missing.move(12, 100, 4);
  EXPECT_EQ(missing.find(12), std::nullopt);
  EXPECT_EQ(missing.find(101), (MissingPiece{100, 112, 4}));
  EXPECT_THAT(missing.from_source(111, 3), ElementsAre(MissingPiece{11, 111, 1}, MissingPiece{100, 112, 2}));
  EXPECT_EQ(missing.page_count(), 10U);
}

TEST(MissingPages, WhatWasMissingWhereOthersAreMovedToIsForgotten) {
  MissingPages missing = pages({{10, 110, 2}, {20, 120, 2}});
  missing.move(10, 20, 2);
  EXPECT_THAT(missing.from_source(0, 1000), ElementsAre(MissingPiece{20, 110, 2}));
}

TEST(MissingPages, NothingIsLeftAfterAllIsTaken) {
  MissingPages missing = pages({{10, 110, 2}, {20, 120, 2}});
  EXPECT_THAT(missing.take(0, 15), ElementsAre(MissingPiece{10, 110, 2}));
  missing.remove(20, 2);
  EXPECT_TRUE(missing.empty());
  EXPECT_THAT(missing.from_source(0, 1000), IsEmpty());
}

// Against the simplest thing that does the same.
TEST(MissingPages, AgreesWithATableOfSinglePages) {
  constexpr std::uint64_t kPages = 200;
  std::mt19937 random(1);  // NOLINT(cert-msc51-cpp): the same every time
  auto below = [&](std::uint64_t limit) { return random() % limit; };
  for (int round = 0; round < 200; ++round) {
    std::map<std::uint64_t, std::uint64_t> table;
    MissingPages missing;
    for (std::uint64_t page = 0; page < kPages; page += 1 + below(20)) {
      std::uint64_t count = std::min(1 + below(10), kPages - page);
      missing.add({page, 1000 + page, count});
      for (std::uint64_t i = 0; i < count; ++i) table[page + i] = 1000 + page + i;
      page += count;
    }
    for (int step = 0; step < 20; ++step) {
      std::uint64_t count = 1 + below(30);
      std::uint64_t from = below(kPages - count);
      std::uint64_t to = below(kPages - count);
      bool apart = to + count <= from || from + count <= to;
      std::map<std::uint64_t, std::uint64_t> moved(table.lower_bound(from), table.lower_bound(from + count));
      table.erase(table.lower_bound(from), table.lower_bound(from + count));
      if (apart && below(2) == 0) {
        table.erase(table.lower_bound(to), table.lower_bound(to + count));
        for (auto [page, source] : moved) table[page - from + to] = source;
        missing.move(from, to, count);
      } else {
        missing.remove(from, count);
      }
      ASSERT_EQ(missing.page_count(), table.size());
      for (std::uint64_t page = 0; page < kPages; ++page) {
        std::optional<MissingPiece> piece = missing.find(page);
        ASSERT_EQ(piece.has_value(), table.contains(page));
        if (!piece) continue;
        ASSERT_EQ(piece->source + (page - piece->page), table[page]);
        ASSERT_THAT(missing.from_source(table[page], 1), ElementsAre(MissingPiece{page, table[page], 1}));
      }
    }
  }
}

}  // namespace
}  // namespace ckpt::engine
