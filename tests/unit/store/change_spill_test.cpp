// A version with more changes than fit in memory is the same version.
#include "store/change_spill.h"

#include <fcntl.h>

#include <random>

#include "store/checkpoint_writer.h"
#include "store/system_calls.h"
#include "store_fixture.h"

namespace ckpt::store {
namespace {

class Spilled : public StoreTest {
 protected:
  std::unique_ptr<CheckpointWriter> begin(Version parent, Base base) {
    auto memory = std::make_shared<WriterMemory>();
    memory->changes_in_memory = 10;
    auto directory = UniqueFd(open(application_->path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    auto files = std::make_shared<const ApplicationFiles>(std::move(directory), application_->path(), "app");
    return std::make_unique<SegmentWriter>(files, memory, parent, base, WriteOptions{});
  }
};

TEST_F(Spilled, random_changes_match_a_model) {
  std::mt19937_64 random(5);
  Model model;
  Version last = 0;
  for (int generation = 0; generation < 12; ++generation) {
    auto writer = begin(last, Base::kParent);
    for (int step = 0; step < 150; ++step) {
      auto space = static_cast<SpaceId>(random() % 2);
      std::uint64_t first = random() % 4000;
      if (random() % 10 == 0) {
        std::uint64_t count = 1 + random() % 700;
        writer->drop(space, {.first_page = first, .page_count = count});
        for (std::uint64_t i = 0; i < count; ++i) model[space].erase(first + i);
        continue;
      }
      for (std::uint64_t i = 0; i < 1 + random() % 12; ++i) {
        model[space][first + i] = page_of(random() % 300);
        writer->put(space, first + i, model[space][first + i]);
      }
    }
    std::vector<PageRun> kept{{.first_page = 100, .page_count = 1500},
                              {.first_page = 1700, .page_count = 9000}};
    writer->keep_only(1, kept);
    std::erase_if(model[1], [](const auto& page) {
      return page.first < 100 || (page.first >= 1600 && page.first < 1700);
    });
    last = commit(*writer);
    ASSERT_EQ(content(last), model) << "generation " << generation;
  }
  EXPECT_EQ(files().size(), 12U);
}

TEST_F(Spilled, file_systems_without_nameless_files_serve_too) {
  system_calls().openat = [](int directory, const char* path, int flags, mode_t mode) {
    if ((flags & O_TMPFILE) != O_TMPFILE) return kRealCalls.openat(directory, path, flags, mode);
    errno = EOPNOTSUPP;
    return -1;
  };
  Model model;
  auto writer = begin(0, Base::kEmpty);
  for (std::uint64_t i = 0; i < 1000; ++i) writer->put(0, i * 7, model[0][i * 7] = page_of(i + 1));
  EXPECT_EQ(files(), std::vector<std::string>{".tmp-v0000000001"});
  EXPECT_EQ(content(commit(*writer)), model);
  system_calls() = kRealCalls;
}

TEST_F(Spilled, a_full_disk_fails_the_version) {
  auto writer = begin(0, Base::kEmpty);
  system_calls().pwrite = [](int fd, const void* bytes, std::size_t size, off_t offset) -> ssize_t {
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) return kRealCalls.pwrite(fd, bytes, size, offset);
    errno = ENOSPC;
    return -1;
  };
  std::string message = error_of([&] {
    for (std::uint64_t i = 0; i < 1000; ++i) writer->put(0, i * 7, page_of(i + 1));
    commit(*writer);
  });
  system_calls() = kRealCalls;
  EXPECT_EQ(message.find("store is full: write " + path_of(".tmp-changes")), 0U) << message;
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace ckpt::store
