// The tree nodes of the last versions are at hand: a version that follows another one reads nothing from
// disk.
#include "store/node_cache.h"

#include <atomic>
#include <random>

#include "store/system_calls.h"
#include "store_fixture.h"
#include "support/failing_calls.h"

namespace ckpt::store {
namespace {

NodeBytes bytes_of(std::size_t size) { return std::make_shared<const std::vector<std::byte>>(size); }

Reference node(std::uint32_t segment, std::uint32_t unit, std::uint64_t digest = 1) {
  return {.segment = segment, .unit = unit, .digest = {.low = digest, .high = 0}};
}

TEST(NodeCache, forgets_what_was_used_longest_ago_and_stays_within_its_limit) {
  NodeCache cache(10000);
  for (std::uint32_t i = 1; i <= 100; ++i) {
    cache.insert(node(i, 0), bytes_of(1000));
    EXPECT_NE(cache.find(node(1, 0)), nullptr) << "used again and again";
    EXPECT_LE(cache.size_bytes(), 10000U);
  }
  EXPECT_NE(cache.find(node(100, 0)), nullptr);
  EXPECT_EQ(cache.find(node(50, 0)), nullptr);
  cache.insert(node(7, 7), bytes_of(20000));
  EXPECT_EQ(cache.find(node(7, 7)), nullptr);
  EXPECT_NE(cache.find(node(100, 0)), nullptr);
}

TEST(NodeCache, another_digest_is_another_node) {
  NodeCache cache;
  cache.insert(node(1, 8, 5), bytes_of(100));
  EXPECT_EQ(cache.find(node(1, 8, 6)), nullptr);
  cache.insert(node(1, 8, 6), bytes_of(200));
  EXPECT_EQ(cache.find(node(1, 8, 5)), nullptr);
  ASSERT_NE(cache.find(node(1, 8, 6)), nullptr);
  EXPECT_EQ(cache.find(node(1, 8, 6))->size(), 200U);
  cache.erase(node(1, 8));
  EXPECT_EQ(cache.find(node(1, 8, 6)), nullptr);
  EXPECT_EQ(cache.size_bytes(), 0U);
}

std::atomic<int> reads;

class RepeatedVersions : public StoreTest {
 protected:
  RepeatedVersions() {
    std::vector<std::byte> bytes;
    for (std::uint64_t i = 0; i < kPages; ++i) {
      Page page = page_of(i + 1);
      bytes.insert(bytes.end(), page.begin(), page.end());
    }
    auto writer = application_->begin(0, Base::kEmpty);
    writer->put(0, 0, bytes);
    commit(*writer);
    model_ = content(1);
    reads = 0;
    system_calls().pread = [](int fd, void* out, std::size_t size, off_t offset) {
      ++reads;
      return kRealCalls.pread(fd, out, size, offset);
    };
  }
  ~RepeatedVersions() override { system_calls() = kRealCalls; }

  static constexpr std::uint64_t kPages = 8192;
  Model model_;
};

TEST_F(RepeatedVersions, a_version_after_another_reads_nothing) {
  std::mt19937_64 random(3);
  Version last = 1;
  for (int i = 0; i < 30; ++i) {
    auto writer = application_->begin(last, Base::kParent);
    for (int page = 0; page < 30; ++page) {
      std::uint64_t number = random() % kPages;
      model_[0][number] = page_of(random());
      writer->put(0, number, model_[0][number]);
    }
    writer->keep_only(0, std::vector<PageRun>{{0, kPages}});
    last = commit(*writer);
    writer.reset();
    EXPECT_EQ(reads.exchange(0), 0) << "version " << last;
  }
  EXPECT_EQ(content(last), model_);
}

TEST_F(RepeatedVersions, a_version_that_was_replaced_on_disk_is_read_again) {
  commit_page(1, 12345);
  std::filesystem::copy_file(path_of("v0000000002.ckpt"), path_of("copy"));
  std::filesystem::rename(path_of("copy"), path_of("v0000000002.ckpt"));
  reads = 0;
  commit_page(2, 12346);
  EXPECT_GT(reads, 0);
  model_[0][1] = page_of(12346);
  EXPECT_EQ(content(3), model_);
}

TEST_F(RepeatedVersions, a_failed_version_leaves_no_nodes_behind_that_count) {
  for (std::uint64_t seed : {1000001ULL, 1000002ULL}) {
    system_calls().fdatasync = tests::failing_sync;
    EXPECT_THROW(commit_page(1, seed), Error);
    system_calls().fdatasync = kRealCalls.fdatasync;
  }
  commit_page(1, 1000003);
  model_[0][1] = page_of(1000003);
  EXPECT_EQ(content(2), model_);
  commit_page(2, 1000004);
  model_[0][1] = page_of(1000004);
  EXPECT_EQ(content(3), model_);
}

}  // namespace
}  // namespace ckpt::store
