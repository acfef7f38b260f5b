#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "engine/process/process_state.h"
#include "engine/process/scheduling.h"
#include "engine/process/thread_links.h"
#include "process/traced_child_support.h"

namespace ckpt::engine {
namespace {

const image::ThreadT& rebuilt_main(const image::ProcessT& saved, std::unique_ptr<image::ProcessT>& keep) {
  keep = save(rebuild(saved)->pid());
  return *keep->threads.front();
}

std::uint64_t data_word(const PlanBuilder& plan, std::uint64_t address) {
  std::uint64_t word = 0;
  std::memcpy(&word, plan.data_bytes().data() + (address - plan.data_base().value), sizeof(word));
  return word;
}

const plan::Operation* find(const PlanBuilder& plan, long number, std::uint64_t first) {
  for (const plan::Operation& op : plan.operations()) {
    if (op.number == static_cast<std::uint32_t>(number) && op.arguments[0] == first) return &op;
  }
  return nullptr;
}

TEST(ThreadLinks, AreTheSameInTheRebuiltThread) {
  ChildProgram child([] {
    prctl(PR_SET_NAME, " a\\n\n(b) ");
    prctl(PR_SET_PDEATHSIG, SIGUSR2);
  });
  auto saved = save(child.pid());
  const image::ThreadT& before = *saved->threads.front();
  std::unique_ptr<image::ProcessT> keep;
  const image::ThreadT& after = rebuilt_main(*saved, keep);
  EXPECT_EQ(before.name, " a\\n\n(b) ");
  EXPECT_EQ(after.name, before.name);
  EXPECT_EQ(after.parent_death_signal, SIGUSR2);
  ASSERT_NE(before.robust_list, nullptr);
  EXPECT_EQ(after.robust_list->head, before.robust_list->head);
  EXPECT_EQ(after.robust_list->size, before.robust_list->size);
  EXPECT_NE(before.clear_child_tid, 0U);
  EXPECT_EQ(after.clear_child_tid, before.clear_child_tid);
  ASSERT_NE(before.rseq, nullptr);
  ASSERT_NE(after.rseq, nullptr);
  EXPECT_EQ(after.rseq->address, before.rseq->address);
  EXPECT_EQ(after.rseq->size, before.rseq->size);
  EXPECT_EQ(after.rseq->signature, before.rseq->signature);
}

TEST(ThreadLinks, OfEveryThreadAreItsOwn) {
  ChildProgram child([] {
    std::atomic<int> ready = 0;
    for (int i = 0; i < 3; ++i) {
      std::thread([&ready, i] {
        pthread_setname_np(pthread_self(), ("worker " + std::to_string(i)).c_str());
        ++ready;
        for (;;) pause();
      }).detach();
    }
    while (ready != 3) sched_yield();
  });
  auto saved = save(child.pid());
  ASSERT_EQ(saved->threads.size(), 4U);
  EXPECT_EQ(saved->threads[0]->tid, child.pid());
  std::vector<std::string> names;
  std::vector<std::uint64_t> tid_addresses, rseqs;
  for (const auto& thread : saved->threads) {
    names.push_back(thread->name);
    tid_addresses.push_back(thread->clear_child_tid);
    rseqs.push_back(thread->rseq->address);
  }
  names.erase(names.begin());
  EXPECT_THAT(names, testing::UnorderedElementsAre("worker 0", "worker 1", "worker 2"));
  std::ranges::sort(tid_addresses);
  std::ranges::sort(rseqs);
  EXPECT_EQ(std::ranges::adjacent_find(tid_addresses), tid_addresses.end());
  EXPECT_EQ(std::ranges::adjacent_find(rseqs), rseqs.end());
}

TEST(Scheduling, IsTheSameInTheRebuiltThread) {
  ChildProgram child([] {
    sched_param parameter{};
    sched_setscheduler(0, SCHED_BATCH, &parameter);
    setpriority(PRIO_PROCESS, 0, 11);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    sched_setaffinity(0, sizeof(one), &one);
    prctl(PR_SET_TIMERSLACK, 123'456, 0, 0, 0);
    syscall(SYS_ioprio_set, 1, 0, (2 << 13) | 6);
  });
  std::unique_ptr<image::ProcessT> keep;
  const image::ThreadT& after = rebuilt_main(*save(child.pid()), keep);
  EXPECT_EQ(after.scheduling->policy, static_cast<std::uint32_t>(SCHED_BATCH));
  EXPECT_EQ(after.scheduling->nice, 11);
  EXPECT_EQ(after.scheduling->timer_slack_ns, 123'456U);
  EXPECT_EQ(after.io_priority, (2 << 13) | 6);
  if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
    ASSERT_FALSE(after.scheduling->affinity.empty());
    EXPECT_EQ(after.scheduling->affinity[0], 1);
  }
}

TEST(Scheduling, UnrestrictedThreadIsNotTiedToTheProcessorsOfThisMachine) {
  ChildProgram child([] {});
  EXPECT_TRUE(save(child.pid())->threads[0]->scheduling->affinity.empty());
}

TEST(Scheduling, DefaultTimeSliceIsNoSetting) {
  ChildProgram child([] {});
  EXPECT_EQ(save(child.pid())->threads[0]->scheduling->runtime_ns, 0U);
}

TEST(Scheduling, RealTimePolicyIsRestoredWherePermitted) {
  sched_param parameter{.sched_priority = 3};
  ChildProgram child([&] { sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &parameter); });
  auto saved = save(child.pid());
  if (saved->threads[0]->scheduling->policy != SCHED_RR)
    GTEST_SKIP() << "real-time scheduling is not permitted";
  std::unique_ptr<image::ProcessT> keep;
  const image::ThreadT& after = rebuilt_main(*saved, keep);
  EXPECT_EQ(after.scheduling->policy, static_cast<std::uint32_t>(SCHED_RR));
  EXPECT_EQ(after.scheduling->priority, 3U);
  EXPECT_EQ(after.scheduling->flags & 1, 1U);
}

TEST(Scheduling, NiceThatTheSessionMayNotGiveIsNoted) {
  WithoutCapability ordinary(CAP_SYS_NICE);
  image::ThreadT thread;
  thread.tid = 5;
  thread.name = "fast";
  thread.scheduling = std::make_unique<image::SchedulingT>();
  thread.scheduling->nice = -20;
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 16);
  std::vector<std::string> notes;
  plan_scheduling(thread, plan, notes);
  rlimit nice{};
  getrlimit(RLIMIT_NICE, &nice);
  if (nice.rlim_max >= 40) GTEST_SKIP() << "this session may set any nice value";
  EXPECT_THAT(notes, testing::ElementsAre(testing::HasSubstr("nice of threads raised from -20 to ")));
}

TEST(Scheduling, RealTimePolicyThatTheSessionMayNotGiveIsNoted) {
  WithoutCapability ordinary(CAP_SYS_NICE);
  rlimit priority{};
  getrlimit(RLIMIT_RTPRIO, &priority);
  if (priority.rlim_max >= 50) GTEST_SKIP() << "this session may schedule real-time";
  image::ThreadT thread;
  thread.scheduling = std::make_unique<image::SchedulingT>();
  thread.scheduling->policy = SCHED_FIFO;
  thread.scheduling->priority = 50;
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 16);
  std::vector<std::string> notes;
  plan_scheduling(thread, plan, notes);
  EXPECT_THAT(notes, testing::ElementsAre(testing::HasSubstr("real-time")));
  const plan::Operation* op = find(plan, SYS_sched_setattr, 0);
  ASSERT_NE(op, nullptr);
  EXPECT_EQ(data_word(plan, op->arguments[1]) >> 32, static_cast<std::uint64_t>(SCHED_OTHER));
}

TEST(ThreadPlan, LeavesOutWhatTheThreadDoesNotHave) {
  image::ThreadT thread;
  thread.name = "plain";
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 16);
  std::vector<std::string> notes;
  plan_thread_state({}, thread, 10, 11, plan, notes);
  ASSERT_EQ(plan.operation_count(), 2U);  // name, clear_child_tid
  EXPECT_EQ(plan.operations()[1].number, static_cast<std::uint32_t>(SYS_set_tid_address));
  EXPECT_EQ(plan.operations()[1].arguments[0], 0U);
}

TEST(ThreadPlan, PendingSignalsGoToTheIdsOfNow) {
  image::ThreadT thread;
  thread.tid = 5;
  thread.pending.push_back(std::make_unique<image::PendingSignalT>());
  siginfo_t info{};
  info.si_signo = SIGUSR1;
  thread.pending[0]->info.resize(sizeof(info));
  std::memcpy(thread.pending[0]->info.data(), &info, sizeof(info));
  PlanBuilder plan(RemoteAddr{0x10000}, 1 << 16);
  std::vector<std::string> notes;
  plan_thread_state({}, thread, 1000, 1001, plan, notes);
  const plan::Operation* op = find(plan, SYS_rt_tgsigqueueinfo, 1000);
  ASSERT_NE(op, nullptr);
  EXPECT_EQ(op->arguments[1], 1001U);
  EXPECT_EQ(op->arguments[2], static_cast<std::uint64_t>(SIGUSR1));
}

}  // namespace
}  // namespace ckpt::engine
