#include "launcher/run_state.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"
#include "child_process.h"
#include "launcher/application_status.h"
#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

RunningRecord record_of(pid_t pid) {
  return {.program = *identify_process(pid),
          .supervisor = 1,
          .run_id = "run",
          .command = {"prog", "arg with blank"},
          .working_directory = "/tmp"};
}

class RunStateTest : public testing::Test {
 protected:
  ApplicationStatus status() const { return application_status(directory_.descriptor()); }

  TemporaryDirectory directory_;
  RunState state_{directory_.descriptor()};
};

TEST_F(RunStateTest, RecordsComeBackAsWritten) {
  RunningRecord written = record_of(::getpid());
  state_.write_running(written);
  std::optional<RunningRecord> read = state_.running();
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->program, written.program);
  EXPECT_EQ(read->command, written.command);
  EXPECT_EQ(read->working_directory, written.working_directory);

  state_.write_ended(
      {.suspended = false, .end = {.signalled = true, .code = SIGKILL}, .realtime_ns = 5, .version = 7});
  EXPECT_EQ(state_.ended()->end, (ProgramEnd{.signalled = true, .code = SIGKILL}));
  EXPECT_EQ(state_.ended()->version, 7U);

  Settings settings{.every = std::chrono::milliseconds(250),
                    .keep = {.last = 9, .hourly = 24},
                    .on_term = OnTerm::kSave,
                    .on_signal = 10,
                    .mode = engine::CopyMode::kFork,
                    .pause_budget = std::chrono::milliseconds(3),
                    .write = {.compression = store::Compression::kZstd, .level = 5},
                    .sockets = OutsideSockets::kKeep,
                    .heap_resident = 64 << 20};
  state_.write_settings(settings);
  EXPECT_EQ(state_.settings(), settings);
}

TEST_F(RunStateTest, AbsentAndDamagedFilesCountAsNothing) {
  EXPECT_FALSE(state_.running() || state_.ended() || state_.settings());
  for (const char* content : {"", "{", "[]", "{\"pid\":\"x\"}", "null"}) {
    for (const char* file : {"running", "ended", "settings"}) {
      std::ofstream(directory_.path() + "/" + file) << content;
    }
    EXPECT_FALSE(state_.running() || state_.ended() || state_.settings()) << content;
  }
}

TEST_F(RunStateTest, ADamagedRecordMayBeOfAProgramThatStillRuns) {
  EXPECT_NO_THROW(require_no_survivor("app", directory_.descriptor()));
  std::ofstream(directory_.path() + "/running") << "{\"pid\":";
  EXPECT_THROW(require_no_survivor("app", directory_.descriptor()), Error);
}

TEST_F(RunStateTest, ClearingWhatIsNotThereIsFine) {
  EXPECT_NO_THROW(state_.clear_running());
  EXPECT_NO_THROW(state_.clear_ended());
}

TEST_F(RunStateTest, LivingProgramWithoutSupervisorIsStillRunning) {
  state_.write_running(record_of(::getpid()));
  EXPECT_EQ(status().activity, Activity::kRunning);
  EXPECT_EQ(status().program, ::getpid());
  EXPECT_EQ(describe(status()), "running (no ckptrun)");
  EXPECT_THROW(require_no_survivor("app", directory_.descriptor()), Error);
}

TEST_F(RunStateTest, StaleRecordIsIgnored) {
  RunningRecord reused = record_of(::getpid());
  reused.program.start_time += 1;
  state_.write_running(reused);
  EXPECT_EQ(status().activity, Activity::kCrashed);
  EXPECT_NO_THROW(require_no_survivor("app", directory_.descriptor()));

  RunningRecord other_boot = record_of(::getpid());
  other_boot.program.boot_id = "another";
  state_.write_running(other_boot);
  EXPECT_EQ(status().activity, Activity::kCrashed);
}

TEST_F(RunStateTest, ProgramJustKilledDoesNotBlockARecover) {
  ChildProcess child;
  state_.write_running(record_of(child.pid()));
  child.kill();
  EXPECT_NO_THROW(require_no_survivor("app", directory_.descriptor()));
}

TEST_F(RunStateTest, EndIsToldByTheRecord) {
  state_.write_ended({.suspended = false, .end = {.signalled = false, .code = 3}, .realtime_ns = 1});
  EXPECT_EQ(describe(status()), "finished (exit status 3)");
  state_.write_ended({.suspended = false, .end = {.signalled = true, .code = SIGSEGV}, .realtime_ns = 1});
  EXPECT_EQ(describe(status()), "crashed (killed by SIGSEGV)");
  state_.write_ended({.suspended = true, .end = {.signalled = true, .code = SIGKILL}, .realtime_ns = 1});
  EXPECT_EQ(describe(status()), "suspended");
}

}  // namespace
}  // namespace ckpt::launcher
