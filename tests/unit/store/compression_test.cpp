// Compressed versions hold the same pages, in fewer bytes, and whatever happens to their bytes is noticed.
#include <atomic>
#include <fstream>
#include <random>

#include "store/block_table.h"
#include "store/page_codec.h"
#include "store/system_calls.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

// Compresses well, differs for each seed.
Page soft_page(std::uint64_t seed) {
  Page page(kPageBytes);
  std::string text = "page number " + std::to_string(seed) + "; ";
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = static_cast<std::byte>(text[i % text.size()]);
  return page;
}

class Compressed : public StoreTest, public testing::WithParamInterface<WriteOptions> {
 protected:
  // Soft and hard pages in changing mixture, and a last block that is not full.
  Version commit_many(Version parent, std::uint64_t seed, std::uint64_t count) {
    auto writer = application_->begin(parent, Base::kParent, GetParam());
    std::mt19937_64 random(seed);
    for (std::uint64_t i = 0; i < count; ++i) {
      std::uint64_t number = i * 3 + random() % 3;
      bool hard = (i / 40) % 3 == 1;
      Page page = hard ? page_of(random()) : soft_page(random() % 1000);
      model_[0][number] = page;
      writer->put(0, number, page);
    }
    return commit(*writer, "run", std::string(3000, 'x'));
  }

  Model model_;
};

TEST_P(Compressed, every_page_comes_back) {
  Version version = commit_many(0, 1, 3001);
  EXPECT_EQ(content(version), model_);
  auto reader = application_->open(version);
  Page page(kPageBytes);
  for (const auto& [number, expected] : model_[0]) {
    reader->read(0, {.first_page = number, .page_count = 1}, page);
    ASSERT_EQ(page, expected) << number;
  }
  EXPECT_LT(std::filesystem::file_size(path_of("v0000000001.ckpt")), 2000 * kPageBytes);
}

TEST_P(Compressed, versions_may_be_compressed_each_in_its_own_way) {
  Version version = commit_many(0, 1, 100);
  auto writer = application_->begin(version, Base::kParent);
  for (std::uint64_t i = 0; i < 90; ++i) {
    model_[0][i * 2] = soft_page(i + 5000);
    writer->put(0, i * 2, model_[0][i * 2]);
  }
  version = commit(*writer);
  writer.reset();
  version = commit_many(version, 2, 17);
  EXPECT_EQ(content(version), model_);
  // Pages that are equal to the parent's cost nothing here either.
  writer = application_->begin(version, Base::kEmpty, GetParam());
  for (const auto& [number, page] : model_[0]) writer->put(0, number, page);
  VersionDescription description;
  EXPECT_EQ(content(writer->commit(description, {})), model_);
  EXPECT_EQ(description.stats.pages_written, 0U);
}

TEST_P(Compressed, neighbours_read_one_by_one_are_decompressed_once) {
  static std::atomic<int> reads;
  auto writer = application_->begin(0, Base::kEmpty, GetParam());
  for (std::uint64_t i = 0; i < 64; ++i) writer->put(0, i, soft_page(i));
  auto reader = application_->open(commit(*writer));
  Page page(kPageBytes);
  reader->read(0, {.first_page = 0, .page_count = 1}, page);
  system_calls().pread = [](int fd, void* out, std::size_t size, off_t offset) {
    ++reads;
    return kRealCalls.pread(fd, out, size, offset);
  };
  reads = 0;
  reader->read(0, {.first_page = 1, .page_count = 1}, page);
  int reads_of_tree = reads;
  for (std::uint64_t i = 2; i < 16; ++i) reader->read(0, {.first_page = i, .page_count = 1}, page);
  EXPECT_EQ(reads, 15 * reads_of_tree);
  reader->read(0, {.first_page = 16, .page_count = 1}, page);
  EXPECT_EQ(reads, 16 * reads_of_tree + 1);
  system_calls() = kRealCalls;
  EXPECT_EQ(page, soft_page(16));
}

TEST_P(Compressed, damaged_bytes_are_noticed_or_harmless) {
  Version version = commit_many(commit_many(0, 1, 400), 2, 60);
  std::mt19937_64 random(3);
  for (int number = 1; number <= 2; ++number) {
    std::string path = path_of("v000000000" + std::to_string(number) + ".ckpt");
    std::ifstream file(path, std::ios::binary);
    std::string good((std::istreambuf_iterator<char>(file)), {});
    for (int i = 0; i < 50; ++i) {
      std::string bad = good;
      std::size_t at = random() % bad.size();
      for (std::size_t n = 0; n < 1 + random() % 40 && at + n < bad.size(); ++n) {
        bad[at + n] = static_cast<char>(random());
      }
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bad;
      try {
        auto reader = application_->open(version);
        EXPECT_EQ(content_of(*reader, {0, 1, 2, 3}), model_) << path << " byte " << at;
      } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find(application_->path()), std::string::npos) << error.what();
      }
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << good;
  }
  EXPECT_EQ(content(version), model_);
}

TEST_P(Compressed, a_late_version_and_one_that_is_given_up_leave_a_whole_store) {
  {
    auto writer = application_->begin(0, Base::kEmpty, GetParam());
    for (std::uint64_t i = 0; i < 1500; ++i) writer->put(0, i, page_of(i));
  }
  EXPECT_TRUE(files().empty());
  auto writer = application_->begin(0, Base::kEmpty, GetParam());
  for (std::uint64_t i = 0; i < 1500; ++i) {
    if (i == 700) writer->hurry();
    model_[0][i] = soft_page(i);
    writer->put(0, i, model_[0][i]);
  }
  EXPECT_EQ(content(commit(*writer)), model_);
}

TEST_P(Compressed, a_full_disk_fails_the_version) {
  system_calls().pwrite = [](int, const void*, std::size_t, off_t) -> ssize_t {
    errno = ENOSPC;
    return -1;
  };
  std::string message = error_of([&] { commit_many(0, 1, 9000); });
  system_calls() = kRealCalls;
  EXPECT_EQ(message.find("store is full: write "), 0U) << message;
  EXPECT_TRUE(files().empty());
}

TEST_P(Compressed, levels_that_a_method_lacks_are_refused) {
  for (int level : {-1, 100}) {
    WriteOptions options{.compression = GetParam().compression, .level = level};
    EXPECT_NE(error_of([&] { application_->begin(0, Base::kEmpty, options); }).find("no compression level"),
              std::string::npos);
  }
  EXPECT_TRUE(files().empty());
}

INSTANTIATE_TEST_SUITE_P(Methods, Compressed,
                         testing::Values(WriteOptions{.compression = Compression::kLz4},
                                         WriteOptions{.compression = Compression::kLz4, .level = 9},
                                         WriteOptions{.compression = Compression::kZstd},
                                         WriteOptions{.compression = Compression::kZstd, .level = 1}),
                         [](const auto& tested) {
                           std::string name =
                               tested.param.compression == Compression::kLz4 ? "lz4_level_" : "zstd_level_";
                           return name + std::to_string(tested.param.level);
                         });

TEST(PageCodec, any_bytes_are_decompressed_or_refused) {
  std::mt19937_64 random(9);
  for (Compression method : {Compression::kLz4, Compression::kZstd}) {
    BlockCompressor compressor({.compression = method, .level = 0});
    std::vector<std::byte> block(kBlockBytes);
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<std::byte>(i * i / 7000);
    std::vector<std::byte> stored(kBlockBytes);
    stored.resize(compressor.compress(block, stored).value());
    for (int i = 0; i < 3000; ++i) {
      std::vector<std::byte> bad(stored);
      for (std::size_t n = 0; n < 1 + random() % 8; ++n)
        bad[random() % bad.size()] = static_cast<std::byte>(random());
      bad.resize(random() % 4 == 0 ? random() % bad.size() : bad.size());
      std::vector<std::byte> out(i % 2 == 0 ? kBlockBytes : kPageBytes);
      static_cast<void>(decompress(compressor.codec(), bad, out));
    }
    std::vector<std::byte> out(kBlockBytes);
    EXPECT_TRUE(decompress(compressor.codec(), stored, out));
    EXPECT_EQ(out, block);
  }
}

TEST(BlockTable, entries_that_do_not_fit_the_pages_are_refused) {
  using Entries = std::vector<BlockEntry>;
  Entries good{{Codec::kRaw, kBlockBytes}, {Codec::kLz4, 100}, {Codec::kZstd, 20}};
  std::uint64_t bytes = kBlockBytes + 120;
  auto table = BlockTable::create(good, 33, bytes);
  ASSERT_TRUE(table);
  EXPECT_EQ(table->find(2).offset, kBlockBytes + 100);
  EXPECT_EQ(table->find(2).bytes, kPageBytes);
  EXPECT_FALSE(BlockTable::create(good, 32, bytes));
  EXPECT_FALSE(BlockTable::create(good, 49, bytes));
  EXPECT_FALSE(BlockTable::create(good, 33, bytes + 8));
  EXPECT_FALSE(BlockTable::create(Entries{{Codec::kRaw, 4095}}, 1, 4096));
  EXPECT_FALSE(BlockTable::create(Entries{{Codec::kLz4, 4096}}, 1, 4096));
  EXPECT_FALSE(BlockTable::create(Entries{{Codec::kLz4, 0}}, 1, 0));
  EXPECT_FALSE(BlockTable::create(Entries{{static_cast<Codec>(3), 8}}, 1, 8));
}

}  // namespace
}  // namespace ckpt::store
