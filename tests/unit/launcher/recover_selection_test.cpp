#include "launcher/recover_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

using testing::HasSubstr;

Candidate candidate(const std::string& name, const std::vector<store::Version>& versions,
                    std::int64_t newest_ns = 0) {
  Candidate out{.name = name, .versions = {}, .segments = versions, .ended = {}};
  for (store::Version version : versions) {
    store::VersionEntry entry;
    entry.description.version = version;
    entry.description.created_realtime_ns = newest_ns;
    out.versions.push_back(entry);
  }
  return out;
}

EndRecord exited(int status) {
  return {.suspended = false, .end = {.signalled = false, .code = status}, .realtime_ns = 0};
}

template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST(RecoverSelection, SegmentFilesCarryTheirVersion) {
  EXPECT_EQ(version_of_segment_file("v0000000007.ckpt"), 7U);
  for (const char* other : {"v.ckpt", "v7.ckpt.tmp", "lock", "vx.ckpt", "v7"}) {
    EXPECT_FALSE(version_of_segment_file(other).has_value()) << other;
  }
}

TEST(RecoverSelection, DefaultIsTheApplicationCheckpointedLast) {
  EXPECT_EQ(checkpointed_last({candidate("a", {9}, 50), candidate("b", {1, 2}, 70), candidate("c", {}, 90)}),
            "b");
  EXPECT_THAT(refusal([] { checkpointed_last({candidate("c", {})}); }), HasSubstr("--every"));
}

TEST(RecoverSelection, NewestVersionUnlessOneIsNamed) {
  Candidate app = candidate("app", {3, 5});
  EXPECT_EQ(select_version(app, std::nullopt), 5U);
  EXPECT_EQ(select_version(app, 3), 3U);
  EXPECT_THAT(refusal([&] { select_version(app, 4); }), HasSubstr("no version 4"));
}

TEST(RecoverSelection, WithoutAnyVersionNamesEvery) {
  EXPECT_THAT(refusal([] { select_version(candidate("app", {}), std::nullopt); }), HasSubstr("--every"));
}

TEST(RecoverSelection, DamagedNewestVersionIsNotPassedOverSilently) {
  Candidate app = candidate("app", {3});
  app.segments = {3, 4};
  EXPECT_EQ(select_version(app, std::nullopt), 4U);
}

TEST(RecoverSelection, FinishedApplicationNeedsItsVersionNamed) {
  Candidate app = candidate("app", {3});
  app.ended = exited(2);
  std::string message = refusal([&] { select_version(app, std::nullopt); });
  EXPECT_THAT(message, HasSubstr("exit status 2"));
  EXPECT_THAT(message, HasSubstr("app@3"));
  EXPECT_EQ(select_version(app, 3), 3U);
  EXPECT_FALSE(resumable(app));
}

TEST(RecoverSelection, KilledAndSuspendedApplicationsResume) {
  Candidate app = candidate("app", {3});
  app.ended = EndRecord{.suspended = false, .end = {.signalled = true, .code = SIGKILL}, .realtime_ns = 0};
  EXPECT_EQ(select_version(app, std::nullopt), 3U);
  app.ended = EndRecord{.suspended = true, .end = {.signalled = true, .code = SIGKILL}, .realtime_ns = 0};
  EXPECT_EQ(select_version(app, std::nullopt), 3U);
  EXPECT_TRUE(resumable(app));
  EXPECT_FALSE(resumable(candidate("none", {})));
}

}  // namespace
}  // namespace ckpt::launcher
