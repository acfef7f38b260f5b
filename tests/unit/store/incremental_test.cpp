// Base::kParent: what is put, dropped and kept, in every order and over generations, against a plain map.
#include <algorithm>
#include <random>

#include "store_fixture.h"

namespace ckpt::store {
namespace {

class Incremental : public StoreTest {
 protected:
  // Pages 0 to 2047 and two far away in space 0, a few in spaces 1 and 2.
  Incremental() {
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t page = 0; page < 2048; ++page) put(*writer, 0, page, page + 1);
    put(*writer, 0, 1ULL << 30U, 5000);
    put(*writer, 0, (1ULL << 45U) - 1, 5001);
    for (std::uint64_t page = 0; page < 10; ++page) put(*writer, 1, page * 1000, page + 1);
    put(*writer, 2, 77, 6000);
    commit(*writer);
  }

  void put(CheckpointWriter& writer, SpaceId space, std::uint64_t page, std::uint64_t seed) {
    writer.put(space, page, page_of(seed));
    model_[space][page] = page_of(seed);
  }
  void keep_only(CheckpointWriter& writer, SpaceId space, const std::vector<PageRun>& present) {
    writer.keep_only(space, present);
    std::erase_if(model_[space], [&](const auto& page) {
      return std::ranges::none_of(present, [&](PageRun run) {
        return page.first >= run.first_page && page.first - run.first_page < run.page_count;
      });
    });
    if (model_[space].empty()) model_.erase(space);
  }

  Model model_;
};

TEST_F(Incremental, pages_outside_of_what_is_kept_go_and_the_others_stay) {
  auto writer = application_->begin(1, Base::kParent);
  // The edge of a leaf, the middle of one, a leaf kept whole by two runs, a run of absent pages.
  keep_only(*writer, 0, {{0, 512}, {700, 1}, {1024, 100}, {1124, 412}, {1ULL << 20U, 1ULL << 20U}});
  EXPECT_EQ(content(commit(*writer)), model_);
}

TEST_F(Incremental, keeping_everything_changes_nothing) {
  auto writer = application_->begin(1, Base::kParent);
  keep_only(*writer, 0, {{0, 2048}, {1ULL << 30U, 1}, {(1ULL << 45U) - 1, 1}});
  keep_only(*writer, 1, {{0, 1ULL << 45U}});
  VersionDescription description;
  EXPECT_EQ(content(writer->commit(description, {})), model_);
  EXPECT_EQ(description.stats.bytes_written, kPageBytes);
}

TEST_F(Incremental, keeping_nothing_removes_the_space) {
  auto writer = application_->begin(1, Base::kParent);
  put(*writer, 1, 3, 100);
  EXPECT_EQ(writer->parent_spaces(), (std::vector<SpaceId>{0, 1, 2}));
  keep_only(*writer, 1, {});
  keep_only(*writer, 2, {});
  keep_only(*writer, 3, {});
  put(*writer, 2, 5, 101);
  Version second = commit(*writer);
  writer.reset();
  EXPECT_EQ(content(second), model_);
  EXPECT_EQ(application_->begin(second, Base::kParent)->parent_spaces(), (std::vector<SpaceId>{0, 2}));
}

TEST_F(Incremental, first_version_has_no_parent_spaces_and_keep_only_removes_what_was_put) {
  auto writer = application_->begin(0, Base::kParent);
  model_.clear();
  EXPECT_TRUE(writer->parent_spaces().empty());
  put(*writer, 0, 1, 1);
  put(*writer, 0, 2, 2);
  put(*writer, 0, 600, 3);
  keep_only(*writer, 0, {{2, 1}});
  EXPECT_EQ(content(commit(*writer)), model_);
}

TEST_F(Incremental, pages_put_before_go_and_pages_put_after_stay) {
  auto writer = application_->begin(1, Base::kParent);
  put(*writer, 0, 5, 100);
  put(*writer, 0, 5, 101);
  put(*writer, 0, 3000, 102);
  put(*writer, 0, 9000, 103);
  keep_only(*writer, 0, {{5, 1}, {3000, 1}});
  put(*writer, 0, 6, 7);  // as in the parent
  put(*writer, 0, 9001, 104);
  EXPECT_EQ(content(commit(*writer)), model_);
}

TEST_F(Incremental, a_page_put_equal_to_the_parent_after_its_removal_is_there) {
  auto writer = application_->begin(1, Base::kParent);
  keep_only(*writer, 0, {});
  for (std::uint64_t page = 100; page < 700; ++page) put(*writer, 0, page, page + 1);
  VersionDescription description;
  EXPECT_EQ(content(writer->commit(description, {})), model_);
  EXPECT_EQ(description.stats.pages_written, 0U);
}

TEST_F(Incremental, runs_that_are_not_ascending_are_refused) {
  auto writer = application_->begin(1, Base::kParent);
  using Runs = std::vector<PageRun>;
  EXPECT_THROW(writer->keep_only(0, Runs({{5, 2}, {6, 1}})), Error);
  EXPECT_THROW(writer->keep_only(0, Runs({{5, 2}, {1, 1}})), Error);
  EXPECT_THROW(writer->keep_only(0, Runs({{5, 1ULL << 45U}})), Error);
  EXPECT_THROW(writer->keep_only(0, Runs({{~0ULL, 1}})), Error);
  EXPECT_EQ(content(commit(*writer)), model_);
}

std::vector<PageRun> random_runs(std::mt19937_64& random) {
  std::vector<PageRun> runs;
  std::uint64_t page = random() % 600;
  while (page < 6000) {
    std::uint64_t count = 1 + random() % (random() % 4 == 0 ? 2000 : 200);
    runs.push_back({.first_page = page, .page_count = count});
    page += count + random() % (random() % 4 == 0 ? 2000 : 20);
  }
  return runs;
}

// More generations than segments are kept, so that pages are taken over from old ones too.
TEST_F(Incremental, random_changes_over_generations_match_a_model) {
  std::mt19937_64 random(7);
  Version last = 1;
  for (int generation = 0; generation < 150; ++generation) {
    auto writer = application_->begin(last, Base::kParent);
    std::uint64_t steps = random() % 30;
    for (std::uint64_t step = 0; step < steps; ++step) {
      auto space = static_cast<SpaceId>(random() % 3);
      std::uint64_t page = random() % 6000;
      if (random() % 16 == 0) {
        keep_only(*writer, space, random() % 8 == 0 ? std::vector<PageRun>{} : random_runs(random));
      } else if (random() % 8 == 0) {
        std::uint64_t count = 1 + random() % 300;
        writer->drop(space, {.first_page = page, .page_count = count});
        for (std::uint64_t i = 0; i < count; ++i) model_[space].erase(page + i);
      } else {
        for (std::uint64_t i = 0; i < 1 + random() % 20; ++i) put(*writer, space, page + i, random() % 500);
      }
    }
    Version next = commit(*writer);
    writer.reset();
    std::erase_if(model_, [](const auto& space) { return space.second.empty(); });
    if (random() % 2 == 0) application_->remove(last);
    last = next;
    if (generation % 10 == 9) {
      ASSERT_EQ(content(last), model_) << "generation " << generation;
    }
  }
}

}  // namespace
}  // namespace ckpt::store
