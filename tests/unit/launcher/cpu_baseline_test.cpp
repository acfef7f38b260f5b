#include "launcher/cpu_baseline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST(CpuBaseline, IsOneOfTheLevels) {
  EXPECT_EQ(parse_cpu_baseline("x86-64-v2"), "x86-64-v2");
  EXPECT_THROW(parse_cpu_baseline("x86-64-v9"), Error);
}

TEST(CpuBaseline, ForbidsWhatTheLevelLacks) {
  EXPECT_THAT(tunables_for("x86-64-v2", nullptr),
              AllOf(StartsWith("glibc.cpu.hwcaps=-"), HasSubstr("-AVX2,"), HasSubstr("-AVX512F,")));
  EXPECT_THAT(tunables_for("x86-64-v3", nullptr), AllOf(HasSubstr("-AVX512F,"), Not(HasSubstr("-AVX2"))));
}

TEST(CpuBaseline, KeepsOtherTunables) {
  EXPECT_THAT(tunables_for("x86-64-v3", "glibc.malloc.check=1"),
              StartsWith("glibc.malloc.check=1:glibc.cpu.hwcaps="));
  EXPECT_THROW(tunables_for("x86-64-v3", "glibc.cpu.hwcaps=-AVX"), Error);
}

}  // namespace
}  // namespace ckpt::launcher
