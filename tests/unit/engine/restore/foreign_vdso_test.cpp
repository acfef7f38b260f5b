// The vDSO of another kernel stays, and leads to this one's.
#include "engine/restore/foreign_vdso.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "checkpoint_support.h"
#include "engine/capture/host.h"
#include "engine/restore/arch/x86_64/far_jump.h"
#include "engine/tracee/arch/x86_64/register_image.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kPlace = 0x123456789000;

TEST(ForeignVdso, FunctionsThatAreHereTooLeadThere) {
  std::span<const std::byte> here = vdso_here();
  if (here.empty()) GTEST_SKIP() << "there is no vDSO";
  std::vector<std::byte> redirected = redirect_vdso(here, here, kPlace);
  ASSERT_EQ(redirected.size(), here.size());
  std::size_t jumps = 0;
  for (std::size_t at = 0; at + arch::kFarJumpBytes <= here.size(); ++at) {
    auto jump = arch::far_jump(kPlace + at);  // the two are the same code, so each leads to its own double
    if (std::memcmp(&redirected[at], jump.data(), jump.size()) == 0) ++jumps;
  }
  EXPECT_GE(jumps, 4U);  // clock_gettime, gettimeofday, time, getcpu
  std::size_t differing = 0;
  for (std::size_t at = 0; at < here.size(); ++at) differing += redirected[at] != here[at] ? 1 : 0;
  EXPECT_LE(differing, jumps * arch::kFarJumpBytes);
}

TEST(ForeignVdso, WhatIsNoVdsoIsRefused) {
  std::vector<std::byte> nothing(8192);
  EXPECT_THROW(redirect_vdso(nothing, vdso_here(), kPlace), Error);
}

TEST(ForeignVdso, FunctionsThatAreNotHereStay) {
  std::span<const std::byte> here = vdso_here();
  if (here.empty()) GTEST_SKIP() << "there is no vDSO";
  std::vector<std::byte> nothing(8192);
  std::vector<std::byte> same = redirect_vdso(here, nothing, kPlace);
  EXPECT_TRUE(std::equal(same.begin(), same.end(), here.begin(), here.end()));
}

TEST(ForeignVdso, ThreadInsideIsNamed) {
  image::CheckpointT checkpoint = empty_checkpoint();
  add_mapping(checkpoint, image::MappingKind::Vdso, 0x7000000, 0x7002000);
  image::HostT host;
  host.kernel = "4.19";
  EXPECT_THROW(check_foreign_vdso(host, *checkpoint.process), Error);  // without its content
  host.vdso.resize(0x2000);
  image::ThreadT& thread = *checkpoint.process->threads.front();
  thread.tid = 77;
  user_regs_struct registers{};
  registers.rip = 0x7001234;
  thread.registers = arch::to_image(registers);
  try {
    check_foreign_vdso(host, *checkpoint.process);
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "thread 77 was inside the vDSO of another kernel (4.19) at this checkpoint; recover another "
                 "version, or "
                 "this one under that kernel");
  }
  registers.rip = 0x7003000;
  thread.registers = arch::to_image(registers);
  EXPECT_NO_THROW(check_foreign_vdso(host, *checkpoint.process));
}

}  // namespace
}  // namespace ckpt::engine
