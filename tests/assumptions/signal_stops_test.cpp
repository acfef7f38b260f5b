// A stop may turn out to be the delivery of a signal. Then the signal is in the tracer's hands: it is
// delivered if it is passed on at the detach, and lost else.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "child_support.h"

namespace ckpt::assumptions {
namespace {

struct Deliveries {
  std::atomic<bool> ready{false};
  std::atomic<int> count{0};
  std::atomic<int> last_value{0};
  std::atomic<int> last_code{0};
};

Deliveries* deliveries = nullptr;  // for the handler

void count_delivery(int, siginfo_t* info, void*) {
  deliveries->last_value = info->si_value.sival_int;
  deliveries->last_code = info->si_code;
  ++deliveries->count;
}

class SignalStops : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(wait_until([this] { return deliveries_->ready && child_.is_blocked_in({SYS_pause}); }));
  }

  void queue(int value) const {
    sigval payload{.sival_int = value};
    while (sigqueue(child_.pid(), SIGRTMIN, payload) != 0) {
      ASSERT_EQ(errno, EAGAIN);  // the queue is full until the child has run
      std::this_thread::yield();
    }
  }

  static bool is_delivery(int status) { return status >> 16 == 0 && WSTOPSIG(status) == SIGRTMIN; }

  Shared<Deliveries> deliveries_;
  Child child_{[this] {
    deliveries = &*deliveries_;
    struct sigaction action {};
    action.sa_sigaction = count_delivery;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGRTMIN, &action, nullptr);
    deliveries_->ready = true;
    for (;;) syscall(SYS_pause);
    return 0;
  }};
};

TEST_F(SignalStops, SignalPassedOnAtDetachIsDeliveredWithItsInformation) {
  child_.seize();
  queue(42);
  ASSERT_TRUE(is_delivery(child_.wait_for_stop()));
  child_.detach(SIGRTMIN);
  ASSERT_TRUE(wait_until([this] { return deliveries_->count == 1; }));
  EXPECT_EQ(deliveries_->last_value, 42);
  EXPECT_EQ(deliveries_->last_code, SI_QUEUE);
}

TEST_F(SignalStops, SignalNotPassedOnIsLost) {
  child_.seize();
  queue(1);
  ASSERT_TRUE(is_delivery(child_.wait_for_stop()));
  child_.detach(0);
  queue(2);  // comes after the first would have
  ASSERT_TRUE(wait_until([this] { return deliveries_->last_value == 2; }));
  EXPECT_EQ(deliveries_->count, 1);
}

TEST_F(SignalStops, SignalQueuedDuringAnInterruptStopIsDeliveredAfterIt) {
  ASSERT_FALSE(is_delivery(child_.stop()));
  queue(7);
  child_.detach(0);
  ASSERT_TRUE(wait_until([this] { return deliveries_->count == 1; }));
  EXPECT_EQ(deliveries_->last_value, 7);
}

TEST_F(SignalStops, NoneOfManyQueuedSignalsIsLostAcrossStops) {
  constexpr int kDeliveryStops = 5;
  std::atomic<bool> enough{false};
  int sent = 0;
  std::thread sender([&] {
    while (!enough) queue(sent++);
  });
  int delivery_stops = 0;
  wait_until([&] {  // its pauses let the child run
    int status = child_.stop();
    if (is_delivery(status)) ++delivery_stops;
    child_.detach(is_delivery(status) ? SIGRTMIN : 0);
    return delivery_stops == kDeliveryStops;
  });
  enough = true;
  sender.join();
  EXPECT_TRUE(wait_until([&] { return deliveries_->count == sent; })) << deliveries_->count << " of " << sent;
  if (delivery_stops == 0) GTEST_SKIP() << "no stop met a delivery, so that nothing was shown";
}

}  // namespace
}  // namespace ckpt::assumptions
