// Whatever happens to the bytes of a segment: an Error, or the same content; never a crash, a hang or other
// content.
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <span>

#include "store/digest.h"
#include "store/segment_format.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class Damage : public StoreTest {
 protected:
  // Three versions: whole nodes, full nodes, deltas; the last one refers to all of them.
  Damage() {
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t i = 0; i < 512; ++i) writer->put(0, 512 + i, page_of(i + 1));
    for (std::uint64_t i = 0; i < 20; ++i) writer->put(1, i << 36U, page_of(i + 1));
    commit(*writer);
    for (std::uint64_t i = 0; i < 2; ++i) {
      writer = application_->begin(1 + i, Base::kParent);
      writer->put(0, 600 + 3 * i, page_of(i + 9000));
      writer->drop(0, {.first_page = 700 + i, .page_count = 1});
      writer->put(1, 20, page_of(i + 9000));
      commit(*writer, "run", std::string(3000, 'x'));
      writer.reset();
    }
    expected_ = content(3);
  }

  // The content of version 3 if it can be read at all.
  void expect_same_or_error(const std::string& what) {
    try {
      auto reader = application_->open(3);
      EXPECT_EQ(reader->image().size(), 3000U) << what;
      EXPECT_TRUE(std::ranges::all_of(reader->image(), [](std::byte b) { return b == std::byte{'x'}; }))
          << what;
      EXPECT_EQ(content_of(*reader, {0, 1, 2, 3}), expected_) << what;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(application_->path()), std::string::npos) << error.what();
    }
    static_cast<void>(application_->versions());
    static_cast<void>(application_->damaged());
  }

  // A footer changed by `change`, its digest made right again.
  void forge_footer(const std::string& file, const std::function<void(Footer&)>& change) {
    std::string bytes = read_bytes(path_of(file));
    Footer footer;
    std::memcpy(&footer, bytes.data() + bytes.size() - sizeof footer, sizeof footer);
    change(footer);
    footer.footer_digest =
        digest_of(std::as_bytes(std::span(&footer, 1)).first(offsetof(Footer, footer_digest)));
    std::memcpy(bytes.data() + bytes.size() - sizeof footer, &footer, sizeof footer);
    write_bytes(path_of(file), bytes);
  }

  Model expected_;
};

TEST_F(Damage, flipped_bits_are_noticed_or_harmless) {
  for (int version = 1; version <= 3; ++version) {
    std::string path = path_of("v000000000" + std::to_string(version) + ".ckpt");
    std::string good = read_bytes(path);
    // Page data in steps, everything behind it densely.
    std::size_t dense = good.size() > 24576 ? good.size() - 24576 : 0;
    for (std::size_t i = 0; i < good.size(); i += i < dense ? 30011 : 97) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << (i % 8)));
      write_bytes(path, bad);
      expect_same_or_error(path + " byte " + std::to_string(i));
    }
    write_bytes(path, good);
  }
  EXPECT_EQ(content(3), expected_);
}

TEST_F(Damage, every_byte_of_the_newest_segments_metadata_is_checked) {
  std::string path = path_of("v0000000003.ckpt");
  std::string good = read_bytes(path);
  int noticed = 0;
  for (std::size_t i = good.size() - sizeof(Footer); i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write_bytes(path, bad);
    EXPECT_THROW(application_->open(3), Error) << "footer byte " << i;
    noticed += static_cast<int>(application_->damaged().size());
  }
  EXPECT_EQ(noticed, static_cast<int>(sizeof(Footer)));
}

TEST_F(Damage, truncated_segments_are_noticed) {
  for (int version = 1; version <= 3; ++version) {
    std::string path = path_of("v000000000" + std::to_string(version) + ".ckpt");
    std::string good = read_bytes(path);
    for (std::size_t size = 0; size < good.size(); size += 1 + good.size() / 37) {
      write_bytes(path, good.substr(0, size));
      EXPECT_THROW(application_->open(3), Error) << path << " cut to " << size;
    }
    write_bytes(path, good + good);
    expect_same_or_error(path + " doubled");
    write_bytes(path, good + "x");
    EXPECT_THROW(application_->open(3), Error);
    write_bytes(path, good);
  }
}

TEST_F(Damage, garbage_and_other_kinds_of_files_are_refused) {
  std::string path = path_of("v0000000003.ckpt");
  for (std::size_t size : {0UL, 1UL, 191UL, 192UL, 4096UL, 100000UL}) {
    std::string garbage;
    while (garbage.size() < size) garbage += static_cast<char>(garbage.size() * 131 % 251);
    write_bytes(path, garbage);
    EXPECT_THROW(application_->open(3), Error);
  }
  std::filesystem::remove(path);
  EXPECT_THROW(application_->open(3), Error);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_THROW(application_->open(3), Error);
  std::filesystem::remove(path);
  std::filesystem::create_symlink("v0000000002.ckpt", path);
  EXPECT_NE(error_of([&] { application_->open(3); }).find("symbolic link"), std::string::npos);
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_THROW(application_->open(3), Error);
  EXPECT_EQ(versions(), (std::vector<Version>{1, 2}));
}

TEST_F(Damage, segment_under_another_number_or_missing_is_named) {
  std::filesystem::copy_file(path_of("v0000000003.ckpt"), path_of("v0000000009.ckpt"));
  EXPECT_NE(error_of([&] { application_->open(9); }).find("segment of version 3"), std::string::npos);
  std::filesystem::remove(path_of("v0000000001.ckpt"));
  EXPECT_NE(error_of([&] { application_->open(3); }).find("segment of version 1"), std::string::npos);
}

TEST_F(Damage, forged_lengths_are_refused_before_they_are_used) {
  std::string path = path_of("v0000000003.ckpt");
  std::string good = read_bytes(path);
  for (auto member : {&Footer::file_bytes, &Footer::page_bytes, &Footer::page_count, &Footer::table_bytes,
                      &Footer::node_bytes, &Footer::manifest_bytes, &Footer::image_bytes, &Footer::version}) {
    for (std::uint64_t value :
         {0ULL, 1ULL, 8ULL, 4096ULL, 1ULL << 20U, 1ULL << 40U, 1ULL << 63U, ~0ULL, ~4095ULL}) {
      forge_footer("v0000000003.ckpt", [&](Footer& footer) { footer.*member = value; });
      expect_same_or_error("forged length " + std::to_string(value));
      write_bytes(path, good);
    }
  }
}

TEST_F(Damage, newer_format_is_refused_by_number) {
  forge_footer("v0000000003.ckpt", [](Footer& footer) { footer.format_version = kFormatVersion + 1; });
  EXPECT_NE(error_of([&] { application_->open(3); }).find("format version 3"), std::string::npos);
}

TEST_F(Damage, damaged_page_is_named_with_file_and_version) {
  std::string path = path_of("v0000000001.ckpt");
  std::string bytes = read_bytes(path);
  bytes[5 * kPageBytes + 77] ^= 4;
  write_bytes(path, bytes);
  auto reader = application_->open(3);
  std::vector<std::byte> out(kPageBytes);
  std::string message = error_of([&] { reader->read(0, {.first_page = 517, .page_count = 1}, out); });
  EXPECT_NE(message.find(path), std::string::npos) << message;
  EXPECT_NE(message.find("page 0x205 of space 0 (version 3)"), std::string::npos) << message;
  reader->read(0, {.first_page = 518, .page_count = 1}, out);
}

TEST_F(Damage, pages_that_are_absent_cannot_be_read) {
  auto reader = application_->open(3);
  std::vector<std::byte> out(kPageBytes);
  EXPECT_THROW(reader->read(0, {.first_page = 700, .page_count = 1}, out), Error);
  EXPECT_THROW(reader->read(7, {.first_page = 0, .page_count = 1}, out), Error);
  EXPECT_THROW(reader->read(0, {.first_page = 1ULL << 45U, .page_count = 1}, out), Error);
  EXPECT_THROW(reader->read(0, {.first_page = 512, .page_count = 2}, out), Error);
}

}  // namespace
}  // namespace ckpt::store
