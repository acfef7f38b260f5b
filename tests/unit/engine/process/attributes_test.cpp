#include "engine/process/attributes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "base/error.h"
#include "process/traced_child_support.h"
#include "support/temporary_directory.h"

namespace ckpt::engine {
namespace {

std::string why_not(const image::ProcessT& process) {
  try {
    check_attributes(process);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(Attributes, AreTheSameInTheRebuiltProgram) {
  tests::TemporaryDirectory directory;
  ChildProgram child([&] {
    if (chdir(directory.path().c_str()) != 0) throw std::runtime_error("chdir");
    umask(0137);
    personality(ADDR_NO_RANDOMIZE);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    std::ofstream("/proc/self/oom_score_adj") << 321;
  });
  auto process = save(rebuild(*save(child.pid()))->pid());
  EXPECT_EQ(process->working_directory, directory.path());
  EXPECT_EQ(process->root_directory, "/");
  EXPECT_EQ(process->umask, 0137U);
  EXPECT_EQ(process->personality, static_cast<std::uint32_t>(ADDR_NO_RANDOMIZE));
  EXPECT_TRUE(process->child_subreaper);
  EXPECT_TRUE(process->no_new_privileges);
  EXPECT_EQ(process->oom_score_adj, 321);
  EXPECT_EQ(process->dumpable, 1);
  EXPECT_EQ(process->executable, std::filesystem::read_symlink("/proc/self/exe"));
}

TEST(Attributes, ProgramThatIsNotDumpableStaysSo) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may trace it";
  ChildProgram child([] { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); });
  EXPECT_EQ(save(rebuild(*save(child.pid()))->pid())->dumpable, 0);
}

TEST(Attributes, ProgramInOurGroupStaysInIt) {
  ChildProgram child([] {});
  auto saved = save(child.pid());
  EXPECT_EQ(saved->pid, child.pid());
  EXPECT_EQ(saved->process_group, getpgrp());
  auto rebuilt = rebuild(*saved);
  EXPECT_EQ(getpgid(rebuilt->pid()), getpgrp());
}

TEST(Attributes, GroupLeaderLeadsItsGroupAgain) {
  ChildProgram child([] { setpgid(0, 0); });
  auto rebuilt = rebuild(*save(child.pid()));
  EXPECT_EQ(getpgid(rebuilt->pid()), rebuilt->pid());
  EXPECT_EQ(getsid(rebuilt->pid()), getsid(0));
}

TEST(Attributes, SessionLeaderLeadsItsSessionAgain) {
  ChildProgram child([] { setsid(); });
  auto rebuilt = rebuild(*save(child.pid()));
  EXPECT_EQ(getsid(rebuilt->pid()), rebuilt->pid());
}

TEST(Attributes, RemovedWorkingDirectoryIsRefusedByName) {
  tests::TemporaryDirectory directory;
  std::string inside = directory.path() + "/gone";
  std::filesystem::create_directory(inside);
  ChildProgram child([&] {
    if (chdir(inside.c_str()) != 0) throw std::runtime_error("chdir");
  });
  std::filesystem::remove(inside);
  EXPECT_THAT(refusal_to_save(child.pid()), testing::HasSubstr(inside));
}

TEST(Attributes, MissingWorkingDirectoryIsFoundBeforeBuilding) {
  image::ProcessT process;
  process.root_directory = "/";
  process.executable = "/proc/self/exe";
  process.working_directory = "/nowhere/to/be found";
  EXPECT_THAT(why_not(process), testing::HasSubstr("/nowhere/to/be found"));
  process.working_directory = "/";
  EXPECT_EQ(why_not(process), "");
}

TEST(Attributes, SetUidProgramIsRefused) {
  tests::TemporaryDirectory directory;
  image::ProcessT process;
  process.root_directory = process.working_directory = "/";
  process.executable = directory.path() + "/program";
  std::filesystem::copy_file("/proc/self/exe", process.executable);
  EXPECT_EQ(why_not(process), "");
  ASSERT_EQ(chmod(process.executable.c_str(), 04755), 0);
  EXPECT_THAT(why_not(process), testing::HasSubstr(process.executable + " is a set-uid program"));
}

TEST(Attributes, OtherRootDirectoryIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may change its root directory";
  tests::TemporaryDirectory directory;
  ChildProgram child([&] {
    if (chroot(directory.path().c_str()) != 0) throw std::runtime_error("chroot");
  });
  EXPECT_THAT(refusal_to_save(child.pid()),
              testing::HasSubstr("another root directory (" + directory.path()));
}

TEST(Attributes, OomScoreThatCouldNotBeSetIsNoted) {
  ChildProgram child([] {});
  image::ProcessT process;
  process.oom_score_adj = -1000;
  std::vector<std::string> notes;
  verify_attributes(process, child.pid(), notes);
  EXPECT_THAT(notes, testing::ElementsAre(testing::HasSubstr("instead of -1000")));
}

}  // namespace
}  // namespace ckpt::engine
