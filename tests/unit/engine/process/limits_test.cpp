#include "engine/process/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/resource.h>

#include <functional>
#include <memory>

#include "base/error.h"
#include "process/traced_child_support.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

void lower(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  rlimit limit{.rlim_cur = soft, .rlim_max = hard};
  setrlimit(resource, &limit);
}

const image::ResourceLimitT& limit(const image::ProcessT& process, int resource) {
  return *process.limits.at(static_cast<std::size_t>(resource));
}

// A child whose limits the plan has set to those in `saved`.
std::unique_ptr<ChildProgram> limited_child(const image::ProcessT& saved, std::vector<std::string>& notes) {
  PlanInPlace plan;
  plan_limits(saved, plan.builder(), notes);
  return std::make_unique<ChildProgram>([&] {
    open_limits_for_building(saved);
    plan.run();
  });
}

// Lowers our own soft and hard limit in a process of its own, where `check` then runs: there is no way back
// up.
void in_session_with_limit(__rlimit_resource resource, rlim_t value, const std::function<void()>& check) {
  ChildProgram session([&] {
    lower(resource, value, value);
    WithoutCapability ordinary(CAP_SYS_RESOURCE);
    check();
  });
}

TEST(Limits, AreSavedForAllResources) {
  ChildProgram child([] { lower(RLIMIT_NOFILE, 50, 60); });
  auto saved = save(child.pid());
  ASSERT_EQ(saved->limits.size(), static_cast<std::size_t>(RLIM_NLIMITS));
  for (int resource = 0; resource < RLIM_NLIMITS; ++resource) {
    if (resource == RLIMIT_NOFILE) continue;
    rlimit own{};
    getrlimit(static_cast<__rlimit_resource>(resource), &own);
    EXPECT_EQ(limit(*saved, resource).resource, resource);
    EXPECT_EQ(limit(*saved, resource).soft, own.rlim_cur) << resource;
    EXPECT_EQ(limit(*saved, resource).hard, own.rlim_max) << resource;
  }
}

TEST(Limits, LoweredOnesAreSetAgain) {
  ChildProgram child([] {
    lower(RLIMIT_NOFILE, 50, 60);
    lower(RLIMIT_CORE, 0, 0);
  });
  std::vector<std::string> notes;
  auto rebuilt = limited_child(*save(child.pid()), notes);
  auto now = save(rebuilt->pid());
  EXPECT_EQ(limit(*now, RLIMIT_NOFILE).soft, 50U);
  EXPECT_EQ(limit(*now, RLIMIT_NOFILE).hard, 60U);
  EXPECT_EQ(limit(*now, RLIMIT_CORE).hard, 0U);
  EXPECT_THAT(notes, testing::IsEmpty());
}

TEST(Limits, WhatTheSessionMayNotGiveIsLoweredAndNoted) {
  ChildProgram child([] { lower(RLIMIT_NOFILE, 50, 60); });
  auto saved = save(child.pid());
  in_session_with_limit(RLIMIT_NOFILE, 40, [&] {
    std::vector<std::string> notes;
    auto rebuilt = limited_child(*saved, notes);
    auto now = save(rebuilt->pid());
    require(limit(*now, RLIMIT_NOFILE).soft == 40 && limit(*now, RLIMIT_NOFILE).hard == 40,
            "limit is not 40");
    require(notes.size() == 1 && notes[0].starts_with("limit NOFILE lowered from 50 to 40"),
            "note is missing");
  });
}

TEST(Limits, LoweredHardLimitAloneIsNotedAsSuch) {
  ChildProgram child([] { lower(RLIMIT_NOFILE, 30, 60); });
  auto saved = save(child.pid());
  in_session_with_limit(RLIMIT_NOFILE, 40, [&] {
    std::vector<std::string> notes;
    auto rebuilt = limited_child(*saved, notes);
    require(limit(*save(rebuilt->pid()), RLIMIT_NOFILE).soft == 30, "soft limit is not 30");
    require(notes.size() == 1 && notes[0].starts_with("hard limit NOFILE lowered from 60 to 40"),
            "note is missing");
  });
}

TEST(Limits, TightSoftLimitsDoNotHinderBuilding) {
  ChildProgram target([] {
    lower(RLIMIT_SIGPENDING, 1, 100);
    lower(RLIMIT_NOFILE, 50, 60);
    open_limits_for_building({});
  });
  auto now = save(target.pid());
  EXPECT_EQ(limit(*now, RLIMIT_SIGPENDING).soft, 100U);
  EXPECT_EQ(limit(*now, RLIMIT_NOFILE).soft, 50U);
}

TEST(ProcLimits, IncompleteTextIsRefused) {
  EXPECT_THROW(parse_proc_limits("Limit\n"), Error);
  EXPECT_THROW(
      parse_proc_limits("Limit\nMax cpu time              many                 unlimited            s\n"),
      Error);
}

}  // namespace
}  // namespace ckpt::engine
