#include "engine/restore/kept_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "base/remote_addr.h"
#include "restore/checkpoint_support.h"

namespace ckpt::engine {
namespace {

using image::MappingKind;
using testing::ElementsAre;

AddressRange page_range(std::uint64_t first, std::uint64_t end) {
  return {first * kPageSize, end * kPageSize};
}

store::StoredRun stored(std::uint64_t first_page, std::uint64_t page_count, store::Version segment,
                        std::uint64_t unit) {
  return {.run = {.first_page = first_page, .page_count = page_count}, .segment = segment, .unit = unit};
}

class KeptMappings : public testing::Test {
 protected:
  KeptMappings() : parent_(empty_checkpoint()), child_(empty_checkpoint()) {}

  static image::MappingT& add(image::CheckpointT& checkpoint, std::uint64_t first_page,
                              std::uint64_t end_page, MappingKind kind = MappingKind::Anonymous) {
    return add_mapping(checkpoint, kind, first_page * kPageSize, end_page * kPageSize,
                       PROT_READ | PROT_WRITE);
  }
  static void add_file(image::CheckpointT& checkpoint, const std::string& path, std::uint64_t inode) {
    checkpoint.process->mapped_files.push_back(std::make_unique<image::MappedFileT>());
    checkpoint.process->mapped_files.back()->path = path;
    checkpoint.process->mapped_files.back()->inode = inode;
  }
  std::vector<bool> kept() const { return kept_mappings(*parent_.process, *child_.process); }

  image::CheckpointT parent_, child_;
};

TEST_F(KeptMappings, AreThoseThatBothHave) {
  add(parent_, 100, 110);
  add(parent_, 120, 130);
  add(child_, 100, 110);
  add(child_, 110, 115);
  add(child_, 120, 130);
  EXPECT_THAT(kept(), ElementsAre(true, false, true));
  EXPECT_THAT(kept_ranges(*child_.process, kept()), ElementsAre(page_range(100, 110), page_range(120, 130)));
}

TEST_F(KeptMappings, MayBeAPartOfWhatTheParentHas) {
  add(parent_, 100, 200);
  add(child_, 100, 110);
  add(child_, 120, 130);
  add(child_, 190, 200);
  EXPECT_THAT(kept(), ElementsAre(true, true, true));
}

TEST_F(KeptMappings, AreNotPutTogetherFromSeveral) {
  add(parent_, 100, 110);
  add(parent_, 110, 120);
  add(child_, 100, 120);
  EXPECT_THAT(kept(), ElementsAre(false)) << "to the kernel these are two";
}

TEST_F(KeptMappings, DoNotReachFurtherThanTheParents) {
  add(parent_, 100, 110);
  add(child_, 100, 111);
  EXPECT_THAT(kept(), ElementsAre(false));
}

TEST_F(KeptMappings, AreAlike) {
  for (std::uint64_t first : {100, 200, 300, 400}) add(parent_, first, first + 10);
  add(child_, 100, 110).protection = PROT_READ;
  add(child_, 200, 210).no_reserve = true;
  add(child_, 300, 310, MappingKind::SharedObject);
  add(child_, 400, 410).advice = {MADV_HUGEPAGE};
  EXPECT_THAT(kept(), ElementsAre(false, false, false, false));
}

TEST_F(KeptMappings, AreInheritedByAFork) {
  for (image::CheckpointT* checkpoint : {&parent_, &child_}) {
    add(*checkpoint, 100, 110).advice = {MADV_DONTFORK};
    add(*checkpoint, 200, 210).advice = {MADV_WIPEONFORK};
    add(*checkpoint, 300, 310).advice = {MADV_HUGEPAGE};
    add(*checkpoint, 400, 410, MappingKind::Vdso);
    add(*checkpoint, 500, 510, MappingKind::AioRing);
  }
  EXPECT_THAT(kept(), ElementsAre(false, false, true, false, false));
}

TEST_F(KeptMappings, OfFilesAreTheSamePartOfTheSameFile) {
  add_file(parent_, "/a", 1);
  add_file(parent_, "/b", 2);
  add_file(child_, "/b", 2);
  add_file(child_, "/a", 3);
  add(parent_, 100, 110, MappingKind::PrivateFile).file = 1;
  add(child_, 100, 110, MappingKind::PrivateFile).file = 0;
  add(parent_, 200, 210, MappingKind::PrivateFile).file = 0;
  add(child_, 200, 210, MappingKind::PrivateFile).file = 1;  // replaced meanwhile
  add(parent_, 300, 310, MappingKind::SharedFile).file = 1;
  add(child_, 300, 310, MappingKind::SharedFile).file = 0;
  child_.process->mappings.back()->offset = kPageSize;
  add(parent_, 400, 410, MappingKind::PrivateFile).file = 1;
  add(child_, 400, 405, MappingKind::PrivateFile).file = 0;
  EXPECT_THAT(kept(), ElementsAre(true, false, false, false));
}

TEST(StoredRuns, AreWhatIsLeftOfThem) {
  std::vector<store::StoredRun> runs{stored(100, 10, 1, 50), stored(110, 10, 2, 70)};
  std::vector<store::StoredRun> rest = subtract(runs, {page_range(102, 104), page_range(108, 115)});
  ASSERT_EQ(rest.size(), 3U);
  EXPECT_EQ(rest[0].run.page_count, 2U);
  EXPECT_EQ(rest[1].run.first_page, 104U);
  EXPECT_EQ(rest[1].unit, 54U);
  EXPECT_EQ(rest[2].run.first_page, 115U);
  EXPECT_EQ(rest[2].segment, 2U);
  EXPECT_EQ(rest[2].unit, 75U);
}

}  // namespace
}  // namespace ckpt::engine
