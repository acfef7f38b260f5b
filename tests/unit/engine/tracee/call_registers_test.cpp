// Where a stop can meet a call that is to be repeated: in it, and on the way back into it.
#include "engine/tracee/arch/x86_64/call_registers.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cerrno>

namespace ckpt::engine::arch {
namespace {

constexpr std::uint64_t kBehind = 0x401234;
constexpr std::uint64_t kInstructionBytes = 2;
constexpr std::uint32_t kMark = 77;

user_regs_struct interrupted_wait() {
  user_regs_struct registers{};
  registers.rip = kBehind;
  registers.orig_rax = SYS_epoll_wait;
  registers.rax = static_cast<unsigned long long>(-EINTR);
  return registers;
}

// What the kernel makes of a repeated call before the program runs (arch_do_signal_or_restart); `user`: an
// interrupt has met the program there.
user_regs_struct on_the_way_back(user_regs_struct registers, bool user) {
  registers.rax = registers.orig_rax;
  registers.rip -= kInstructionBytes;
  if (user) registers.orig_rax = ~0ULL;
  return registers;
}

TEST(CallRegisters, RepeatedCallIsKnownWhereverItIsMet) {
  user_regs_struct repeated = interrupted_wait();
  repeat_call(repeated, kMark);
  EXPECT_FALSE(marked_call_ahead(repeated));
  CallSite site = interrupted_call(repeated).value().site;
  for (bool user : {false, true}) {
    user_regs_struct back = on_the_way_back(repeated, user);
    EXPECT_FALSE(interrupted_call(back));
    auto ahead = marked_call_ahead(back);
    ASSERT_TRUE(ahead) << user;
    EXPECT_EQ(ahead->number, SYS_epoll_wait);
    EXPECT_EQ(ahead->mark, kMark);
    EXPECT_EQ(ahead->site, site);

    repeat_call(back, kMark);  // so that a handler that runs first makes it return EINTR
    EXPECT_EQ(back.rip, repeated.rip);
    EXPECT_EQ(back.orig_rax, repeated.orig_rax);
    EXPECT_EQ(back.rax, repeated.rax);

    back = on_the_way_back(repeated, user);
    complete_call(back, 0);
    EXPECT_EQ(back.rip, kBehind);
    EXPECT_EQ(back.rax, 0U);
    EXPECT_EQ(back.orig_rax, ~0ULL);
  }
}

}  // namespace
}  // namespace ckpt::engine::arch
