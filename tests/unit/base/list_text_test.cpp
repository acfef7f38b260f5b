#include "base/list_text.h"

#include <gtest/gtest.h>

#include <vector>

namespace ckpt {
namespace {

TEST(ListSome, NamesAllWhereTheyAreFew) {
  std::vector<std::string> names{"a", "b", "c"};
  EXPECT_EQ(list_some(names, 3), "a, b, c");
  EXPECT_EQ(list_some({}, 3), "");
}

TEST(ListSome, CountsThoseThatItDoesNotName) {
  std::vector<std::string> names{"a", "b", "c", "d"};
  EXPECT_EQ(list_some(names, 3), "a, b, c and 1 more");
}

}  // namespace
}  // namespace ckpt
