#include "engine/restore/touched_pages.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/unique_fd.h"

namespace ckpt::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class TouchedPages : public testing::Test {
 protected:
  TouchedPages() {
    std::string name = std::filesystem::temp_directory_path() / "touched_pages.XXXXXX";
    path_ = ::mkdtemp(name.data());
    directory_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::ofstream(path_ / "v0000000003.ckpt") << "a version";
  }
  ~TouchedPages() override { std::filesystem::remove_all(path_); }

  TouchedPages(const TouchedPages&) = delete;
  TouchedPages& operator=(const TouchedPages&) = delete;

  bool exists(const char* name) const { return std::filesystem::exists(path_ / name); }

  std::filesystem::path path_;
  UniqueFd directory_;
};

TEST_F(TouchedPages, PartsAreRememberedOnceAndInOrder) {
  TouchedParts parts;
  for (std::uint64_t page : {50U, 3U, 49U, 0U, 100U}) parts.add(page);
  EXPECT_THAT(parts.in_order(), ElementsAre(3, 0, 6));
  save_touched(directory_.get(), 3, parts);
  EXPECT_THAT(load_touched(directory_.get(), 3).in_order(), ElementsAre(3, 0, 6));
}

TEST_F(TouchedPages, ThereAreNeverTooMany) {
  TouchedParts parts;
  for (std::uint64_t part = 0; part < kMostTouchedParts + 10; ++part) parts.add_part(part);
  save_touched(directory_.get(), 3, parts);
  EXPECT_EQ(load_touched(directory_.get(), 3).in_order().size(), kMostTouchedParts);
}

TEST_F(TouchedPages, ADamagedFileSaysNothing) {
  TouchedParts parts;
  parts.add_part(7);
  save_touched(directory_.get(), 3, parts);
  auto size = std::filesystem::file_size(path_ / "v0000000003.touched");
  for (std::uintmax_t at = 0; at < size; ++at) {
    save_touched(directory_.get(), 3, parts);
    std::fstream file(path_ / "v0000000003.touched", std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
    file.close();
    EXPECT_THAT(load_touched(directory_.get(), 3).in_order(), IsEmpty()) << "byte " << at;
  }
  std::filesystem::resize_file(path_ / "v0000000003.touched", size - 1);
  EXPECT_THAT(load_touched(directory_.get(), 3).in_order(), IsEmpty());
  std::filesystem::remove(path_ / "v0000000003.touched");
  EXPECT_THAT(load_touched(directory_.get(), 3).in_order(), IsEmpty());
}

TEST_F(TouchedPages, NothingOutlivesItsVersion) {
  TouchedParts parts;
  parts.add_part(7);
  save_touched(directory_.get(), 3, parts);
  save_touched(directory_.get(), 4, parts);
  EXPECT_FALSE(exists("v0000000004.touched")) << "saved for a version that does not exist";
  std::filesystem::copy_file(path_ / "v0000000003.touched", path_ / "v0000000002.touched");
  std::ofstream(path_ / "mine.touched") << "of somebody else";
  remove_stale_touched(directory_.get());
  EXPECT_TRUE(exists("v0000000003.touched"));
  EXPECT_FALSE(exists("v0000000002.touched"));
  EXPECT_TRUE(exists("mine.touched"));
}

}  // namespace
}  // namespace ckpt::engine
