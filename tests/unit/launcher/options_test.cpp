#include "launcher/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

RunOptions parse(const std::vector<std::string>& arguments) {
  ParsedOptions parsed = parse_run_options(arguments);
  EXPECT_FALSE(parsed.information.has_value());
  return parsed.options;
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    parse_run_options(arguments);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Options, EndAtTheProgram) {
  RunOptions options = parse({"--keep", "5", "prog", "--every", "1s", "--", "-v"});
  EXPECT_EQ(options.mode, RunMode::kRun);
  EXPECT_EQ(options.keep, store::Retention{.last = 5});
  EXPECT_FALSE(options.every.has_value());
  EXPECT_FALSE(options.verbose);
  EXPECT_THAT(options.command, ElementsAre("prog", "--every", "1s", "--", "-v"));
}

TEST(Options, EndAtTwoDashes) {
  RunOptions options = parse({"--every", "250ms", "-v", "--", "-odd", "--", "x"});
  EXPECT_EQ(options.every, std::chrono::milliseconds(250));
  EXPECT_TRUE(options.verbose);
  EXPECT_THAT(options.command, ElementsAre("-odd", "--", "x"));
}

TEST(Options, TakeValuesAfterAnEqualsSign) {
  RunOptions options =
      parse({"--every=1h", "--name=a", "--store=/s", "--on-term=save", "--on-signal=USR2", "p"});
  EXPECT_EQ(options.every, std::chrono::hours(1));
  EXPECT_EQ(options.name, "a");
  EXPECT_EQ(options.store, "/s");
  EXPECT_EQ(options.on_term, OnTerm::kSave);
  EXPECT_EQ(options.on_signal, SIGUSR2);
}

TEST(Options, RecoverTakesArgumentsForTheProgram) {
  RunOptions options = parse({"--recover", "app@1", "--", "script.py", "--", "-x"});
  EXPECT_EQ(options.target->name, "app");
  EXPECT_THAT(options.new_arguments, ElementsAre("script.py", "--", "-x"));
  EXPECT_TRUE(options.command.empty());
  options = parse({"--recover", "--clone", "copy", "--", "a"});
  EXPECT_FALSE(options.target.has_value());
  EXPECT_EQ(options.clone, "copy");
  EXPECT_THAT(options.new_arguments, ElementsAre("a"));
  EXPECT_THAT(parse({"--recover", "app", "-v", "--", "-a"}).new_arguments, ElementsAre("-a"));
  EXPECT_TRUE(parse({"--recover", "app"}).new_arguments.empty());
  EXPECT_THAT(refusal({"--recover", "app", "a"}), HasSubstr("behind --"));
  EXPECT_THAT(refusal({"--clone", "copy", "prog"}), HasSubstr("--recover"));
}

TEST(Options, SocketsAreAsInTheRunBeforeUnlessGiven) {
  Settings before;
  before.sockets = OutsideSockets::kKeep;
  EXPECT_EQ(merge_settings(parse({"--recover", "app"}), before).sockets, OutsideSockets::kKeep);
  EXPECT_EQ(merge_settings(parse({"--recover", "app", "--sockets", "eof"}), before).sockets,
            OutsideSockets::kEof);
  EXPECT_EQ(merge_settings(parse({"prog"}), std::nullopt).sockets, OutsideSockets::kReset);
  EXPECT_THAT(refusal({"--sockets", "hold", "prog"}), HasSubstr("eof, keep, reset"));
}

TEST(Options, TakeLeases) {
  RunOptions options = parse({"--lease", "exec:a=x y", "--lease=exec:b=z", "--lease-policy", "fail", "prog"});
  EXPECT_THAT(options.leases, ElementsAre("exec:a=x y", "exec:b=z"));
  EXPECT_EQ(options.lease_policy, LeasePolicy::kFail);
  EXPECT_THAT(options.command, ElementsAre("prog"));
  EXPECT_FALSE(parse({"prog"}).lease_policy.has_value());
  EXPECT_TRUE(parse({"prog"}).agent);
  EXPECT_FALSE(parse({"--no-agent", "prog"}).agent);
  EXPECT_THAT(refusal({"--lease", "db", "prog"}), HasSubstr("exec:NAME"));
  EXPECT_THAT(refusal({"--lease-policy", "die", "prog"}), HasSubstr("notify or fail"));
}

TEST(Options, RecoverTakesAnOptionalTarget) {
  EXPECT_FALSE(parse({"--recover"}).target.has_value());
  RunOptions named = parse({"--recover", "app@12", "--every", "1s"});
  EXPECT_EQ(named.mode, RunMode::kRecover);
  EXPECT_EQ(named.target->name, "app");
  EXPECT_EQ(named.target->version, 12U);
  EXPECT_TRUE(named.every.has_value());
  EXPECT_EQ(parse({"--recover", "--every", "1s", "app"}).target->name, "app");
}

TEST(Options, RecoverOrRunKeepsTheProgram) {
  RunOptions options = parse({"--recover-or-run", "--pids", "new", "--", "prog", "arg"});
  EXPECT_EQ(options.mode, RunMode::kRecoverOrRun);
  EXPECT_EQ(options.pids, engine::PidPolicy::kNew);
  EXPECT_THAT(options.command, ElementsAre("prog", "arg"));
}

TEST(Options, RefusalsSayWhatIsWrong) {
  EXPECT_THAT(refusal({}), HasSubstr("no PROGRAM"));
  EXPECT_THAT(refusal({"--bogus", "prog"}), HasSubstr("unknown option --bogus"));
  EXPECT_THAT(refusal({"--every", "soon", "prog"}), HasSubstr("not a duration"));
  EXPECT_THAT(refusal({"--keep", "0", "prog"}), HasSubstr("--keep"));
  EXPECT_THAT(refusal({"--keep", "many", "prog"}), HasSubstr("--keep"));
  EXPECT_THAT(refusal({"--keep", "-1", "prog"}), HasSubstr("--keep"));
  EXPECT_THAT(refusal({"--on-term", "die", "prog"}), HasSubstr("pass, save"));
  EXPECT_THAT(refusal({"--on-signal", "KILL", "prog"}), HasSubstr("SIGKILL"));
  EXPECT_THAT(refusal({"--on-signal", "TERM", "--on-term", "save", "prog"}), HasSubstr("--on-signal"));
  EXPECT_THAT(refusal({"--pids", "old", "prog"}), HasSubstr("--pids"));
  EXPECT_THAT(refusal({"--mode", "magic", "prog"}), HasSubstr("auto, copy, fork, precopy"));
  EXPECT_THAT(refusal({"--compress", "gzip", "prog"}), HasSubstr("lz4, none, zstd"));
  EXPECT_THAT(refusal({"--compress", "zstd:99", "prog"}), HasSubstr("1 to 19"));
  EXPECT_THAT(refusal({"--pause-budget", "soon", "prog"}), HasSubstr("soon"));
  EXPECT_THAT(refusal({"--name", "../x", "prog"}), HasSubstr("../x"));
  EXPECT_THAT(refusal({"--recover", "a@b*"}), HasSubstr("NAME@NUMBER"));
  EXPECT_THAT(refusal({"--recover", "a", "prog"}), HasSubstr("prog"));
  EXPECT_THAT(refusal({"--recover", "--recover-or-run", "prog"}), HasSubstr("exclude"));
  EXPECT_THAT(refusal({"--recover", "a", "--name", "b"}), HasSubstr("twice"));
}

TEST(Options, SayHowMemoryIsCopiedAndStored) {
  RunOptions options =
      parse({"--mode", "precopy", "--pause-budget", "3ms", "--compress", "zstd:7", "--", "prog"});
  EXPECT_EQ(options.copy_mode, engine::CopyMode::kPrecopy);
  EXPECT_EQ(options.pause_budget, std::chrono::milliseconds(3));
  EXPECT_EQ(options.write, (store::WriteOptions{.compression = store::Compression::kZstd, .level = 7}));
  EXPECT_EQ(parse({"--compress", "lz4", "prog"}).write->compression, store::Compression::kLz4);
}

TEST(Options, HelpAndVersionAreInformation) {
  EXPECT_THAT(parse_run_options({"--help"}).information->text, HasSubstr("--recover-or-run"));
  EXPECT_THAT(parse_run_options({"--version"}).information->text, testing::StartsWith("ckptrun "));
}

TEST(Options, SettingsOfTheRunBeforeAreUsedWhereNoneAreGiven) {
  Settings earlier{
      .every = std::chrono::seconds(2), .keep = {.last = 7}, .on_term = OnTerm::kSave, .on_signal = SIGUSR1};
  EXPECT_EQ(merge_settings(parse({"--recover"}), earlier), earlier);
  Settings changed = merge_settings(parse({"--recover", "--every", "3s", "--on-term", "pass"}), earlier);
  EXPECT_EQ(changed.every, std::chrono::seconds(3));
  EXPECT_EQ(changed.on_term, OnTerm::kPass);
  EXPECT_EQ(changed.keep, store::Retention{.last = 7});
  EXPECT_EQ(merge_settings(parse({"prog"}), std::nullopt), Settings{});
}

TEST(Options, PathsAreForARecover) {
  RunOptions options = parse({"--recover", "app", "--path", "/a//b/=/c", "--path=/d=/e=f"});
  EXPECT_THAT(options.paths, ElementsAre(engine::PathChange{"/a/b", "/c"}, engine::PathChange{"/d", "/e=f"}));
  EXPECT_THAT(refusal({"--recover", "app", "--path", "/a"}), HasSubstr("OLD=NEW"));
  EXPECT_THAT(refusal({"--recover", "app", "--path", "a=/b"}), HasSubstr("OLD=NEW"));
  EXPECT_THAT(refusal({"--path", "/a=/b", "prog"}), HasSubstr("--recover"));
}

TEST(Options, ProcessorIsChosenAtTheStartAndForcedAtARecover) {
  EXPECT_EQ(parse({"--heap-resident", "64M", "--heap-size", "1G", "prog"}).heap_size, 1U << 30);
  EXPECT_THAT(refusal({"--heap-size", "1G", "prog"}), HasSubstr("give --heap-resident, too"));
  EXPECT_THAT(refusal({"--heap-resident", "none", "--heap-size", "1G", "prog"}),
              HasSubstr("give --heap-resident, too"));
  EXPECT_THAT(refusal({"--recover", "app", "--heap-resident", "64M", "--heap-size", "1G"}),
              HasSubstr("leave it out"));
  EXPECT_EQ(parse({"--cpu-baseline", "x86-64-v3", "prog"}).cpu_baseline, "x86-64-v3");
  EXPECT_THAT(refusal({"--cpu-baseline", "x86-64-v3", "--recover", "app"}), HasSubstr("--cpu-baseline"));
  EXPECT_TRUE(parse({"--recover", "app", "--force-cpu"}).force_cpu);
  EXPECT_THAT(refusal({"--force-cpu", "prog"}), HasSubstr("--recover"));
}

TEST(Options, FilesAreLeftOrCarried) {
  EXPECT_EQ(parse({"--files", "embed", "prog"}).files, FilePolicy::kEmbed);
  EXPECT_EQ(parse({"--files", "rollback", "prog"}).files, FilePolicy::kRollBack);
  EXPECT_THAT(refusal({"--files", "all", "prog"}), HasSubstr("embed"));
}

}  // namespace
}  // namespace ckpt::launcher
