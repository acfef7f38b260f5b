// What an application has, and what storing equal pages once saves.
#include "store/inventory.h"

#include <gmock/gmock.h>

#include <fstream>

#include "store_fixture.h"

namespace ckpt::store {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class InventoryOfAnApplication : public StoreTest {
 protected:
  Version make_first() {
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t page = 0; page < 100; ++page) writer->put(page % 2, page * 7, page_of(page));
    return commit(*writer);
  }
};

TEST_F(InventoryOfAnApplication, CountsPagesOfEveryVersion) {
  Version first = make_first();
  commit_page(first, 5000);
  Inventory inventory = take_inventory(*application_);
  EXPECT_EQ(inventory.versions.size(), 2U);
  EXPECT_THAT(inventory.damaged, IsEmpty());
  EXPECT_THAT(inventory.content_pages, ElementsAre(100U, 101U));
  EXPECT_EQ(inventory.content_bytes(), 201 * kPageBytes);
  EXPECT_GE(inventory.stored_bytes, 101 * kPageBytes);
  EXPECT_GT(inventory.saved_bytes(), 80 * kPageBytes);
}

TEST_F(InventoryOfAnApplication, CountsSegmentsThatOthersNeed) {
  Version first = make_first();
  commit_page(first, 5000);
  application_->remove(first);
  Inventory inventory = take_inventory(*application_);
  EXPECT_THAT(inventory.content_pages, ElementsAre(101U));
  EXPECT_GE(inventory.stored_bytes, 101 * kPageBytes);
}

TEST_F(InventoryOfAnApplication, OfNothingIsNothing) {
  Inventory inventory = take_inventory(*application_);
  EXPECT_THAT(inventory.versions, IsEmpty());
  EXPECT_EQ(inventory.saved_bytes(), 0U);
}

// More than one thread reads, in the order of the versions all the same.
TEST_F(InventoryOfAnApplication, ListsManyVersionsAndNamesTheDamagedOnes) {
  Version last = 0;
  for (std::uint64_t i = 1; i <= 300; ++i) last = commit_page(last, i);
  std::filesystem::resize_file(path_of("v0000000123.ckpt"), 100);
  std::ofstream(path_of("v0000000250.ckpt"), std::ios::trunc) << "nothing";
  Inventory inventory = take_inventory(*application_);
  EXPECT_THAT(inventory.damaged, ElementsAre(HasSubstr("v0000000123.ckpt"), HasSubstr("v0000000250.ckpt")));
  EXPECT_EQ(inventory.damaged, application_->damaged());
  std::vector<Version> found;
  for (const VersionEntry& entry : inventory.versions) found.push_back(entry.description.version);
  EXPECT_EQ(found, versions());
  EXPECT_EQ(found.size(), 298U);
  EXPECT_TRUE(std::ranges::is_sorted(found));
}

}  // namespace
}  // namespace ckpt::store
