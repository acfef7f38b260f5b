#include "launcher/naming.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

store::VersionEntry version_of(const std::vector<std::string>& command) {
  store::VersionEntry entry;
  entry.description.command = command;
  return entry;
}

TEST(Naming, TakesTheBaseName) {
  EXPECT_EQ(name_for_program("/usr/bin/python3"), "python3");
  EXPECT_EQ(name_for_program("./app"), "app");
  EXPECT_EQ(name_for_program("app"), "app");
}

TEST(Naming, MakesEveryBaseNameFitTheStore) {
  for (const std::string& program :
       {std::string(".hidden"), std::string("-odd"), std::string("with blank/ä b"), std::string("dir/"),
        std::string("/"), std::string(5000, 'x')}) {
    EXPECT_NO_THROW(store::Store::check_name(numbered_name(name_for_program(program), 4000000000U)))
        << program;
  }
}

TEST(Naming, NumbersFromTwo) {
  EXPECT_EQ(numbered_name("app", 1), "app");
  EXPECT_EQ(numbered_name("app", 2), "app-2");
}

TEST(Naming, TargetIsNameOrNameAtVersion) {
  EXPECT_EQ(parse_target("app").name, "app");
  EXPECT_FALSE(parse_target("app").version.has_value());
  EXPECT_EQ(parse_target("app@7").version, 7U);
  EXPECT_EQ(to_string(parse_target("app@7")), "app@7");
  EXPECT_EQ(parse_target("app@before-upgrade").label, "before-upgrade");
  EXPECT_FALSE(parse_target("app@before-upgrade").version.has_value());
  EXPECT_EQ(to_string(parse_target("app@before-upgrade")), "app@before-upgrade");
  for (const char* wrong : {"app@", "app@0", "app@-1", "app@x/y", "app@.x", "@1", "", "a/b", "a@b@1"}) {
    EXPECT_THROW(parse_target(wrong), Error) << wrong;
  }
}

TEST(Naming, NameIsSharedByRunsOfOneCommandLineOnly) {
  EXPECT_TRUE(same_program({}, {"a"}));
  EXPECT_TRUE(same_program({version_of({"a", "b"})}, {"a", "b"}));
  EXPECT_FALSE(same_program({version_of({"a", "b"})}, {"a"}));
  EXPECT_FALSE(same_program({version_of({"a"}), version_of({"b"})}, {"a"}));
}

}  // namespace
}  // namespace ckpt::launcher
