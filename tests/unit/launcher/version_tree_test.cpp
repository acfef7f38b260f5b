#include "launcher/version_tree.h"

#include <gtest/gtest.h>

namespace ckpt::launcher {
namespace {

store::VersionEntry entry(store::Version version, store::Version parent, const std::string& run) {
  store::VersionEntry entry;
  entry.description.version = version;
  entry.description.parent = parent;
  entry.description.run_id = run;
  return entry;
}

std::vector<std::string> drawn(const std::vector<store::VersionEntry>& versions) {
  std::vector<std::string> lines;
  for (const TreeRow& row : version_tree(versions))
    lines.push_back(row.indent + std::to_string(versions[row.entry].description.version));
  return lines;
}

TEST(VersionTree, OneLineStaysFlat) {
  EXPECT_EQ(drawn({entry(1, 0, "a"), entry(2, 1, "a"), entry(3, 2, "b")}),
            (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_TRUE(drawn({}).empty());
}

TEST(VersionTree, BranchesAreIndented) {
  EXPECT_EQ(drawn({entry(1, 0, "a"), entry(2, 1, "a"), entry(3, 1, "b"), entry(4, 3, "b"), entry(5, 3, "c")}),
            (std::vector<std::string>{"1", "| 3", "| | 5", "| 4", "2"}));
}

TEST(VersionTree, RemovedParentsAreSkippedWithinARun) {
  std::vector<store::VersionEntry> versions{entry(2, 1, "a"), entry(5, 4, "a"), entry(9, 7, "b")};
  EXPECT_EQ(ancestor_of(versions, versions[0]), 0U);
  EXPECT_EQ(ancestor_of(versions, versions[1]), 2U);
  EXPECT_EQ(ancestor_of(versions, versions[2]), 0U);
  EXPECT_EQ(drawn(versions), (std::vector<std::string>{"2", "5", "9"}));
}

}  // namespace
}  // namespace ckpt::launcher
