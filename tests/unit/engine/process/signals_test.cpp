#include "engine/process/signals.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/process/process_state.h"
#include "process/traced_child_support.h"

namespace ckpt::engine {
namespace {

void handler(int) {}

const image::SignalActionT* action_of(const image::ProcessT& process, int signal) {
  auto found =
      std::ranges::find_if(process.signal_actions, [&](const auto& a) { return a->signal == signal; });
  return found == process.signal_actions.end() ? nullptr : found->get();
}

void set_action(int signal, void (*function)(int), int flags, int masked = 0) {
  struct sigaction action {};
  action.sa_handler = function;
  action.sa_flags = flags;
  if (masked != 0) sigaddset(&action.sa_mask, masked);
  sigaction(signal, &action, nullptr);
}

void queue(int signal, int value) {
  sigval data{};
  data.sival_int = value;
  sigqueue(getpid(), signal, data);
}

void queue_for_thread(int signal, int value) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = value;
  syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), signal, &info);
}

std::vector<int> values(const std::vector<std::unique_ptr<image::PendingSignalT>>& pending) {
  std::vector<int> found;
  for (const auto& one : pending) {
    siginfo_t info{};
    std::memcpy(&info, one->info.data(), sizeof(info));
    found.push_back(info.si_signo * 100 + info.si_value.sival_int);
  }
  return found;
}

TEST(SignalActions, KeepHandlerFlagsAndMask) {
  ChildProgram child([] {
    set_action(SIGUSR1, handler, SA_RESTART | SA_NODEFER, SIGUSR2);
    set_action(SIGPIPE, SIG_IGN, 0);
    set_action(SIGUSR2, SIG_DFL, 0);
  });
  auto rebuilt = rebuild(*save(child.pid()));
  auto process = save(rebuilt->pid());
  const image::SignalActionT* caught = action_of(*process, SIGUSR1);
  ASSERT_NE(caught, nullptr);
  EXPECT_EQ(caught->handler, reinterpret_cast<std::uint64_t>(&handler));
  EXPECT_EQ(caught->mask, 1U << (SIGUSR2 - 1));
  EXPECT_EQ(caught->flags & (SA_RESTART | SA_NODEFER), static_cast<std::uint64_t>(SA_RESTART | SA_NODEFER));
  ASSERT_NE(action_of(*process, SIGPIPE), nullptr);
  EXPECT_EQ(action_of(*process, SIGPIPE)->handler, reinterpret_cast<std::uint64_t>(SIG_IGN));
  EXPECT_EQ(action_of(*process, SIGUSR2), nullptr);
}

TEST(SignalActions, KeepFlagsOfDefaultChildSignal) {
  ChildProgram child([] { set_action(SIGCHLD, SIG_DFL, SA_NOCLDWAIT); });
  auto process = save(rebuild(*save(child.pid()))->pid());
  ASSERT_NE(action_of(*process, SIGCHLD), nullptr);
  EXPECT_NE(action_of(*process, SIGCHLD)->flags & SA_NOCLDWAIT, 0U);
}

TEST(SignalActions, SignalsThatTheSessionIgnoresAreDefaultInTheRebuiltProgram) {
  ChildProgram child([] { set_action(SIGHUP, SIG_DFL, 0); });
  auto saved = save(child.pid());
  struct sigaction before {};
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGHUP, &ignore, &before);
  auto rebuilt = rebuild(*saved);
  sigaction(SIGHUP, &before, nullptr);
  EXPECT_EQ(action_of(*save(rebuilt->pid()), SIGHUP), nullptr);
}

TEST(SignalActions, TrapIsLeftToTheCaller) {
  ChildProgram child([] { set_action(SIGTRAP, handler, 0); });
  auto saved = save(child.pid());
  ASSERT_TRUE(trap_action(*saved).has_value());
  EXPECT_EQ(trap_action(*saved)->handler, reinterpret_cast<std::uint64_t>(&handler));
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 20);
  plan_signal_actions(*saved, plan);
  EXPECT_TRUE(
      std::ranges::none_of(plan.operations(), [](const auto& op) { return op.arguments[0] == SIGTRAP; }));
  EXPECT_EQ(plan.operation_count() + 1, saved->signal_actions.size());
}

TEST(SignalActions, NoTrapActionIfItIsTheDefault) {
  ChildProgram child([] { set_action(SIGTRAP, SIG_DFL, 0); });
  EXPECT_FALSE(trap_action(*save(child.pid())).has_value());
}

TEST(PendingSignals, KeepOrderSiginfoAndWhetherTheyAreForTheThread) {
  ChildProgram child([] {
    block_all_signals();
    int rt = SIGRTMIN + 1;
    queue(rt, 1);
    queue(rt, 2);
    queue(SIGUSR1, 3);
    queue(rt, 4);
    queue_for_thread(rt, 5);
    queue_for_thread(SIGUSR2, 6);
  });
  auto saved = save(child.pid());
  auto rebuilt = rebuild(*saved);
  auto process = save(rebuilt->pid());
  int rt = (SIGRTMIN + 1) * 100;
  EXPECT_THAT(values(process->pending), testing::ElementsAre(rt + 1, rt + 2, SIGUSR1 * 100 + 3, rt + 4));
  EXPECT_THAT(values(process->threads[0]->pending), testing::ElementsAre(rt + 5, SIGUSR2 * 100 + 6));
  // The sender is the process itself, which has another id now.
  siginfo_t info{};
  std::memcpy(&info, saved->pending[0]->info.data(), sizeof info);
  EXPECT_EQ(info.si_pid, child.pid());
  info.si_pid = rebuilt->pid();
  std::memcpy(saved->pending[0]->info.data(), &info, sizeof info);
  EXPECT_EQ(process->pending[0]->info, saved->pending[0]->info);
}

TEST(PendingSignals, ManyAreKept) {
  constexpr int kCount = 1000;
  ChildProgram child([] {
    block_all_signals();
    for (int i = 0; i < kCount; ++i) queue(SIGRTMIN + 3, i);
  });
  auto process = save(rebuild(*save(child.pid()))->pid());
  std::vector<int> expected(kCount);
  for (int i = 0; i < kCount; ++i) expected[static_cast<std::size_t>(i)] = (SIGRTMIN + 3) * 100 + i;
  EXPECT_EQ(values(process->pending), expected);
}

TEST(SignalMask, IsSaved) {
  ChildProgram child([] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_SETMASK, &set, nullptr);
  });
  EXPECT_EQ(save(child.pid())->threads[0]->signal_mask, 1U << (SIGUSR1 - 1));
}

TEST(AltStack, IsRestored) {
  static char memory[1 << 16];
  ChildProgram child([] {
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = sizeof(memory);
    stack.ss_flags = static_cast<int>(1U << 31);  // SS_AUTODISARM
    sigaltstack(&stack, nullptr);
  });
  auto process = save(rebuild(*save(child.pid()))->pid());
  ASSERT_NE(process->threads[0]->alt_stack, nullptr);
  EXPECT_EQ(process->threads[0]->alt_stack->sp, reinterpret_cast<std::uint64_t>(memory));
  EXPECT_EQ(process->threads[0]->alt_stack->size, sizeof(memory));
  EXPECT_EQ(process->threads[0]->alt_stack->flags, static_cast<int>(1U << 31));
}

TEST(AltStack, NoneIsNone) {
  ChildProgram child([] {
    stack_t stack{};
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, nullptr);
  });
  EXPECT_EQ(save(child.pid())->threads[0]->alt_stack, nullptr);
}

}  // namespace
}  // namespace ckpt::engine
