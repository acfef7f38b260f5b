// What is put into a version is what is read from it, whatever its parents are.
#include <algorithm>
#include <atomic>
#include <iterator>
#include <random>
#include <thread>

#include "store_fixture.h"

namespace ckpt::store {
namespace {

using VersionContent = StoreTest;

TEST_F(VersionContent, several_spaces_and_sparse_addresses_come_back) {
  Model expected;
  auto writer = application_->begin(0, Base::kEmpty);
  std::uint64_t seed = 1;
  for (SpaceId space : {0U, 1U, 3U}) {
    for (std::uint64_t page : {0ULL, 1ULL, 511ULL, 512ULL, 0x400ULL, (1ULL << 35U) - 1, (1ULL << 35U) - 2,
                               (1ULL << 35U), (1ULL << 45U) - 1}) {
      expected[space][page] = page_of(seed++);
      writer->put(space, page, expected[space][page]);
    }
  }
  Version version = commit(*writer);
  EXPECT_EQ(content(version), expected);
}

TEST_F(VersionContent, adjacent_pages_are_one_run_across_leaves) {
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i < 1500; ++i) {
    Page page = page_of(i + 1);
    bytes.insert(bytes.end(), page.begin(), page.end());
  }
  auto writer = application_->begin(0, Base::kEmpty);
  writer->put(0, 100, bytes);
  auto reader = application_->open(commit(*writer));
  auto runs = reader->runs(0);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].first_page, 100U);
  EXPECT_EQ(runs[0].page_count, 1500U);
  std::vector<std::byte> part(700 * kPageBytes);
  reader->read(0, {.first_page = 333, .page_count = 700}, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), bytes.begin() + 233 * kPageBytes));
}

TEST_F(VersionContent, spaces_of_a_version_are_compared_by_content) {
  auto writer = application_->begin(0, Base::kEmpty);
  for (std::uint64_t page = 0; page < 2000; ++page) {
    writer->put(1, page, page_of(page + 1));
    if (page % 3 != 0) writer->put(2, page, page_of(page % 3 == 1 ? page + 1 : page + 5000));
  }
  auto reader = application_->open(commit(*writer));
  EXPECT_TRUE(reader->differing(1, 1).empty());
  std::vector<PageRun> expected{{.first_page = 0, .page_count = 1}};
  for (std::uint64_t page = 2; page < 2000; page += 3)
    expected.push_back({.first_page = page, .page_count = 2});
  for (const auto& differing : {reader->differing(1, 2), reader->differing(2, 1)}) {
    ASSERT_EQ(differing.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_EQ(differing[i].first_page, expected[i].first_page);
      EXPECT_EQ(differing[i].page_count, expected[i].page_count);
    }
  }
  EXPECT_EQ(reader->differing(1, 7).size(), 1U) << "of which there is nothing";
}

TEST_F(VersionContent, zero_pages_are_absent_and_empty_spaces_have_no_runs) {
  auto writer = application_->begin(0, Base::kEmpty);
  writer->put(0, 7, Page(3 * kPageBytes));
  Page nearly_zero(kPageBytes);
  nearly_zero.back() = std::byte{1};
  writer->put(1, 7, nearly_zero);
  auto reader = application_->open(commit(*writer));
  EXPECT_TRUE(reader->runs(0).empty());
  EXPECT_EQ(reader->runs(1).size(), 1U);
  EXPECT_TRUE(reader->runs(2).empty());
}

TEST_F(VersionContent, last_put_of_a_page_wins_and_put_after_drop_counts) {
  auto writer = application_->begin(commit_page(0, 1), Base::kParent);
  writer->put(0, 5, page_of(2));
  writer->put(0, 5, page_of(3));
  writer->drop(0, {.first_page = 0, .page_count = 512});
  writer->put(0, 6, page_of(4));
  writer->put(0, 7, page_of(5));
  writer->drop(0, {.first_page = 7, .page_count = 1});
  EXPECT_EQ(content(commit(*writer)), (Model{{0, {{6, page_of(4)}}}}));
}

TEST_F(VersionContent, drop_of_a_huge_run_removes_only_what_is_in_it) {
  auto writer = application_->begin(0, Base::kEmpty);
  writer->put(0, 0, page_of(1));
  for (std::uint64_t i = 1; i < 40; ++i) writer->put(0, i << 38U, page_of(i + 1));
  writer->put(0, (1ULL << 45U) - 1, page_of(50));
  Version first = commit(*writer);
  writer.reset();
  writer = application_->begin(first, Base::kParent);
  writer->drop(0, {.first_page = 1, .page_count = (1ULL << 45U) - 2});
  EXPECT_EQ(content(commit(*writer)), (Model{{0, {{0, page_of(1)}, {(1ULL << 45U) - 1, page_of(50)}}}}));
}

TEST_F(VersionContent, unchanged_pages_are_not_written_again) {
  std::vector<std::byte> bytes;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    Page page = page_of(i + 1);
    bytes.insert(bytes.end(), page.begin(), page.end());
  }
  auto writer = application_->begin(0, Base::kEmpty);
  writer->put(0, 0, bytes);
  Version first = commit(*writer);
  writer.reset();
  for (Base base : {Base::kEmpty, Base::kParent}) {
    writer = application_->begin(first, base);
    writer->put(0, 0, bytes);
    VersionDescription description;
    Version version = writer->commit(description, {});
    writer.reset();
    EXPECT_EQ(description.parent, first);
    EXPECT_EQ(description.stats.pages_written, 0U);
    EXPECT_EQ(description.stats.pages_skipped_parent, 1000U);
    EXPECT_EQ(description.stats.bytes_written, kPageBytes);
    EXPECT_EQ(content(version), content(first));
  }
}

TEST_F(VersionContent, empty_base_contains_only_what_is_put) {
  auto writer = application_->begin(0, Base::kEmpty);
  for (std::uint64_t page : {1ULL, 2ULL, 600ULL, 1ULL << 30U}) writer->put(0, page, page_of(page));
  writer->put(1, 9, page_of(9));
  Version first = commit(*writer);
  writer.reset();
  writer = application_->begin(first, Base::kEmpty);
  writer->put(0, 2, page_of(2));
  EXPECT_EQ(content(commit(*writer)), (Model{{0, {{2, page_of(2)}}}}));
}

TEST_F(VersionContent, description_and_image_come_back) {
  VersionDescription description{.created_realtime_ns = 123456789,
                                 .run_id = "run-1",
                                 .command = {"python3", "-c", "", "a\"b\xff"},
                                 .working_directory = "/tmp",
                                 .pid = 42,
                                 .process_count = 1,
                                 .thread_count = 3,
                                 .notes = {"a note"},
                                 .kept = {{"/heaps/one/heap", "heap", 7}},
                                 .stats = {.mode = "precopy",
                                           .frozen_time_us = 77,
                                           .resident_bytes = 99,
                                           .stages = {{"stop", 12}, {"memory", 60}}}};
  std::vector<std::byte> image(100001, std::byte{0xA5});
  Version version = application_->begin(0, Base::kEmpty)->commit(description, image);
  auto reader = application_->open(version);
  const VersionDescription& read = reader->description();
  EXPECT_EQ(read.version, version);
  EXPECT_EQ(read.parent, 0U);
  EXPECT_EQ(read.created_realtime_ns, 123456789);
  EXPECT_EQ(read.run_id, "run-1");
  EXPECT_EQ(read.command, description.command);
  EXPECT_EQ(read.working_directory, "/tmp");
  EXPECT_EQ(read.pid, 42);
  EXPECT_EQ(read.thread_count, 3U);
  EXPECT_EQ(read.notes, description.notes);
  EXPECT_EQ(read.kept, description.kept);
  EXPECT_EQ(read.stats.mode, "precopy");
  EXPECT_EQ(read.stats.frozen_time_us, 77U);
  EXPECT_EQ(read.stats.stages, (std::vector<Stage>{{"stop", 12}, {"memory", 60}}));
  EXPECT_EQ(read.stats.resident_bytes, 99U);
  EXPECT_EQ(read.stats.bytes_written, std::filesystem::file_size(path_of("v0000000001.ckpt")));
  EXPECT_TRUE(std::ranges::equal(reader->image(), image));
}

TEST_F(VersionContent, one_reader_serves_several_threads) {
  auto writer = application_->begin(0, Base::kEmpty);
  constexpr std::uint64_t kPages = 3000;
  for (std::uint64_t i = 0; i < kPages; ++i) writer->put(0, i * 3, page_of(i + 1));
  auto reader = application_->open(commit(*writer));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (std::uint64_t start = 0; start < 4; ++start) {
    threads.emplace_back([&, start] {
      std::vector<std::byte> out(kPageBytes);
      for (std::uint64_t i = start; i < kPages; i += 2) {
        reader->read(0, {.first_page = i * 3, .page_count = 1}, out);
        if (out != page_of(i + 1)) ++wrong;
      }
      if (reader->runs(0).size() != kPages) ++wrong;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Changes a few places of every kind: single pages, runs, drops, pages set back to zero.
void change_at_random(std::mt19937_64& random, CheckpointWriter& writer, Model& model) {
  auto draw = [&](std::uint64_t limit) { return random() % limit; };
  constexpr std::uint64_t kBases[] = {0, 500, 0x1000000, (1ULL << 35U) - 300, (1ULL << 45U) - 4096};
  std::uint64_t steps = draw(40);
  for (std::uint64_t step = 0; step < steps; ++step) {
    auto space = static_cast<SpaceId>(draw(3));
    std::uint64_t first = kBases[draw(5)] + draw(1200);
    std::uint64_t count = draw(4) == 0 ? 1 + draw(150) : 1;
    if (draw(6) == 0) {
      writer.drop(space, {.first_page = first, .page_count = count});
      for (std::uint64_t i = 0; i < count; ++i) model[space].erase(first + i);
      continue;
    }
    std::vector<std::byte> bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
      Page page = draw(5) == 0 ? Page(kPageBytes) : page_of(1 + draw(1000));
      bytes.insert(bytes.end(), page.begin(), page.end());
      if (page == Page(kPageBytes)) {
        model[space].erase(first + i);
      } else {
        model[space][first + i] = page;
      }
    }
    writer.put(space, first, bytes);
  }
}

void put_all(CheckpointWriter& writer, const Model& model) {
  for (const auto& [space, pages] : model) {
    for (const auto& [number, page] : pages) writer.put(space, number, page);
  }
}

void forget_empty_spaces(Model& model) {
  std::erase_if(model, [](const auto& space) { return space.second.empty(); });
}

TEST_F(VersionContent, long_chains_of_random_changes_match_a_model) {
  std::mt19937_64 random(20);
  std::map<Version, Model> models{{0, {}}};
  for (int i = 0; i < 40; ++i) {
    // Mostly the newest, sometimes any older one: chains branch.
    auto parent = std::prev(models.end());
    if (random() % 8 == 0)
      parent = std::next(models.begin(), static_cast<std::ptrdiff_t>(random() % models.size()));
    Base base = random() % 5 == 0 ? Base::kEmpty : Base::kParent;
    auto writer = application_->begin(parent->first, base);
    Model model = parent->second;
    if (base == Base::kEmpty) put_all(*writer, model);
    change_at_random(random, *writer, model);
    forget_empty_spaces(model);
    models[commit(*writer)] = model;
  }
  models.erase(0);
  for (const auto& [version, model] : models) EXPECT_EQ(content(version), model) << "version " << version;
  // Any of them may go, in any order.
  while (!models.empty()) {
    auto gone = std::next(models.begin(), static_cast<std::ptrdiff_t>(random() % models.size()));
    application_->remove(gone->first);
    models.erase(gone);
    if (models.size() % 15 != 0) continue;
    for (const auto& [version, model] : models) ASSERT_EQ(content(version), model) << "version " << version;
  }
  EXPECT_EQ(files(), (std::vector<std::string>{"v0000000040.used"}));
}

}  // namespace
}  // namespace ckpt::store
