// What a ptrace stop does to system calls that sleep. Every call here would sleep for an hour: whatever it
// returns earlier is the effect of the stop.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <ostream>
#include <string>

#include "child_support.h"
#include "support/ring_call.h"

namespace ckpt::assumptions {
namespace {

constexpr long kHourSeconds = 3600;
constexpr int kHourMilliseconds = 3'600'000;
// Kernel-internal results of an interrupted call (include/linux/errno.h), as ptrace shows them.
constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoIntr = -513;
constexpr std::int64_t kRestartNoHand = -514;
constexpr std::int64_t kRestartBlock = -516;

struct Report {
  std::atomic<bool> returned{false};
  long result = 0;
  int error = 0;
  std::atomic<int> semaphore_set{-1};  // to be removed by the parent
  std::atomic<int> message_queue{-1};
};

timespec hour_from_now(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  time.tv_sec += kHourSeconds;
  return time;
}

constexpr timespec kHour{kHourSeconds, 0};

int empty_pipe() {
  std::array<int, 2> ends{};
  return pipe(ends.data()) == 0 ? ends[0] : -1;
}

int epoll_on_nothing() {
  int epoll = epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, empty_pipe(), &event);
  return epoll;
}

// A second open file description of a locked file, so that the process blocks on itself.
int reopen(int fd) { return open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR); }

void limit_receive_time(int fd) {
  timeval hour{kHourSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &hour, sizeof hour);
}

int connected_socket() {
  std::array<int, 2> ends{};
  return socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0 ? ends[0] : -1;
}

int bound_socket(int type) {
  int fd = socket(AF_INET, type, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? fd : -1;
}

void block_user_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

int futex_word = 0;
char byte = 0;

long call_nanosleep(Report&) { return syscall(SYS_nanosleep, &kHour, nullptr); }
long call_clock_nanosleep(Report&) {
  timespec end = hour_from_now(CLOCK_MONOTONIC);
  return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr);
}
long call_poll(Report&) {
  pollfd fd{.fd = empty_pipe(), .events = POLLIN, .revents = 0};
  return syscall(SYS_poll, &fd, 1, kHourMilliseconds);
}
long call_ppoll(Report&) {
  pollfd fd{.fd = empty_pipe(), .events = POLLIN, .revents = 0};
  timespec hour = kHour;
  return syscall(SYS_ppoll, &fd, 1, &hour, nullptr, 8);
}
long call_select(Report&) {
  timeval hour{kHourSeconds, 0};
  return syscall(SYS_select, 0, nullptr, nullptr, nullptr, &hour);
}
long call_epoll_wait(Report&) {
  epoll_event event{};
  return syscall(SYS_epoll_wait, epoll_on_nothing(), &event, 1, kHourMilliseconds);
}
long call_epoll_wait_for_ever(Report&) {
  epoll_event event{};
  return syscall(SYS_epoll_wait, epoll_on_nothing(), &event, 1, -1);
}
long call_epoll_pwait(Report&) {
  epoll_event event{};
  return syscall(SYS_epoll_pwait, epoll_on_nothing(), &event, 1, kHourMilliseconds, nullptr, 8);
}
long call_epoll_pwait2(Report&) {
  epoll_event event{};
  return syscall(SYS_epoll_pwait2, epoll_on_nothing(), &event, 1, &kHour, nullptr, 8);
}
long call_futex_relative(Report&) {
  return syscall(SYS_futex, &futex_word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &kHour, nullptr, 0);
}
long call_futex_absolute(Report&) {
  timespec end = hour_from_now(CLOCK_MONOTONIC);
  return syscall(SYS_futex, &futex_word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, &end, nullptr,
                 FUTEX_BITSET_MATCH_ANY);
}
long call_futex_waitv(Report&) {
  futex_waitv waiter{};
  waiter.uaddr = reinterpret_cast<std::uintptr_t>(&futex_word);
  waiter.flags = FUTEX_32 | FUTEX_PRIVATE_FLAG;
  timespec end = hour_from_now(CLOCK_MONOTONIC);
  return syscall(SYS_futex_waitv, &waiter, 1, 0, &end, CLOCK_MONOTONIC);
}
long call_futex_lock_pi(Report&) {
  futex_word = getppid();  // owned by a live process that never lets go
  timespec end = hour_from_now(CLOCK_REALTIME);
  return syscall(SYS_futex, &futex_word, FUTEX_LOCK_PI, 0, &end, nullptr, 0);
}
long call_sigtimedwait(Report&) {
  block_user_signal();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  return syscall(SYS_rt_sigtimedwait, &set, nullptr, &kHour, 8);
}
long call_sigsuspend(Report&) {
  sigset_t set;
  sigemptyset(&set);
  return syscall(SYS_rt_sigsuspend, &set, 8);
}
long call_pause(Report&) { return syscall(SYS_pause); }
long call_semtimedop(Report& report) {
  report.semaphore_set = semget(IPC_PRIVATE, 1, 0600);
  sembuf operation{.sem_num = 0, .sem_op = -1, .sem_flg = 0};
  return syscall(SYS_semtimedop, report.semaphore_set.load(), &operation, 1, &kHour);
}
long call_msgrcv(Report& report) {
  report.message_queue = msgget(IPC_PRIVATE, 0600);
  std::array<char, 64> message{};
  return syscall(SYS_msgrcv, report.message_queue.load(), message.data(), 8, 0, 0);
}
long call_inotify_read(Report&) {
  std::array<char, 4096> events{};
  return syscall(SYS_read, inotify_init1(0), events.data(), events.size());
}
long call_io_getevents(Report&) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, 1, &context) != 0) return -1;
  io_event event{};
  return syscall(SYS_io_getevents, context, 1, 1, &event, &kHour);
}
long call_io_uring_enter(Report&) {
  io_uring_params parameters{};
  long ring = ring_call(SYS_io_uring_setup, 4, reinterpret_cast<intptr_t>(&parameters), nullptr, 0);
  if (ring < 0) return -1;
  return syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
}
long call_eventfd_read(Report&) {
  eventfd_t value = 0;
  return syscall(SYS_read, eventfd(0, 0), &value, sizeof value);
}
long call_timerfd_read(Report&) {
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  itimerspec hour{.it_interval = {0, 0}, .it_value = kHour};
  timerfd_settime(timer, 0, &hour, nullptr);
  std::uint64_t expirations = 0;
  return syscall(SYS_read, timer, &expirations, sizeof expirations);
}
long call_pipe_read(Report&) { return syscall(SYS_read, empty_pipe(), &byte, 1); }
long call_recv(Report&) { return syscall(SYS_recvfrom, connected_socket(), &byte, 1, 0, nullptr, nullptr); }
long call_recv_with_timeout(Report&) {
  int fd = connected_socket();
  limit_receive_time(fd);
  return syscall(SYS_recvfrom, fd, &byte, 1, 0, nullptr, nullptr);
}
long call_accept_with_timeout(Report&) {
  int fd = bound_socket(SOCK_STREAM);
  listen(fd, 1);
  limit_receive_time(fd);
  return syscall(SYS_accept4, fd, nullptr, nullptr, 0);
}
long call_recvmmsg_with_timeout(Report&) {
  int fd = bound_socket(SOCK_DGRAM);
  limit_receive_time(fd);
  iovec vector{.iov_base = &byte, .iov_len = 1};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &vector;
  message.msg_hdr.msg_iovlen = 1;
  timespec hour = kHour;
  return syscall(SYS_recvmmsg, fd, &message, 1, 0, &hour);
}
long call_wait4(Report&) {
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  return syscall(SYS_wait4, child, nullptr, 0, nullptr);
}
long call_flock(Report&) {
  int file = memfd_create("lock", 0);
  flock(file, LOCK_EX);
  return syscall(SYS_flock, reopen(file), LOCK_EX);
}
long call_record_lock(Report&) {
  int file = memfd_create("lock", 0);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  fcntl(file, F_OFD_SETLK, &lock);
  return syscall(SYS_fcntl, reopen(file), F_OFD_SETLKW, &lock);
}
long call_mq_timedreceive(Report&) {
  mq_attr attributes{};
  attributes.mq_maxmsg = 1;
  attributes.mq_msgsize = 8;
  std::string name = "/ckpt-assumption-" + std::to_string(getpid());
  mqd_t queue = mq_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
  mq_unlink(name.c_str());
  timespec end = hour_from_now(CLOCK_REALTIME);
  std::array<char, 8> message{};
  return syscall(SYS_mq_timedreceive, queue, message.data(), message.size(), nullptr, &end);
}

struct BlockingCall {
  const char* name;
  long number;
  long (*run)(Report&);
};

void PrintTo(const BlockingCall& call, std::ostream* out) { *out << call.name; }

// Calls that the kernel starts again by itself.
const BlockingCall kRestarting[] = {
    {"nanosleep", SYS_nanosleep, call_nanosleep},
    {"clock_nanosleep_absolute", SYS_clock_nanosleep, call_clock_nanosleep},
    {"poll", SYS_poll, call_poll},
    {"ppoll", SYS_ppoll, call_ppoll},
    {"select", SYS_select, call_select},
    {"futex_relative", SYS_futex, call_futex_relative},
    {"futex_absolute", SYS_futex, call_futex_absolute},
    {"futex_waitv", SYS_futex_waitv, call_futex_waitv},
    {"futex_lock_pi", SYS_futex, call_futex_lock_pi},
    {"sigsuspend", SYS_rt_sigsuspend, call_sigsuspend},
    {"pause", SYS_pause, call_pause},
    {"msgrcv", SYS_msgrcv, call_msgrcv},
    {"inotify_read", SYS_read, call_inotify_read},
    {"eventfd_read", SYS_read, call_eventfd_read},
    {"timerfd_read", SYS_read, call_timerfd_read},
    {"pipe_read", SYS_read, call_pipe_read},
    {"recv", SYS_recvfrom, call_recv},
    {"wait4", SYS_wait4, call_wait4},
    {"flock", SYS_flock, call_flock},
    {"record_lock", SYS_fcntl, call_record_lock},
    {"mq_timedreceive", SYS_mq_timedreceive, call_mq_timedreceive},
};

// Calls that end with EINTR although no signal came.
const BlockingCall kInterrupted[] = {
    {"epoll_wait", SYS_epoll_wait, call_epoll_wait},
    {"epoll_wait_for_ever", SYS_epoll_wait, call_epoll_wait_for_ever},
    {"epoll_pwait", SYS_epoll_pwait, call_epoll_pwait},
    {"epoll_pwait2", SYS_epoll_pwait2, call_epoll_pwait2},
    {"sigtimedwait", SYS_rt_sigtimedwait, call_sigtimedwait},
    {"semtimedop", SYS_semtimedop, call_semtimedop},
    {"io_getevents", SYS_io_getevents, call_io_getevents},
    {"io_uring_enter", SYS_io_uring_enter, call_io_uring_enter},
    {"recv_with_timeout", SYS_recvfrom, call_recv_with_timeout},
    {"accept_with_timeout", SYS_accept4, call_accept_with_timeout},
    {"recvmmsg_with_timeout", SYS_recvmmsg, call_recvmmsg_with_timeout},
};

// A child that makes one of the calls.
class Caller {
 public:
  explicit Caller(const BlockingCall& call) : call_(call) {}
  ~Caller() {
    if (report_->semaphore_set >= 0) semctl(report_->semaphore_set, 0, IPC_RMID);
    if (report_->message_queue >= 0) msgctl(report_->message_queue, IPC_RMID, nullptr);
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

  Child& child() { return child_; }
  const Report& report() const { return *report_; }

  // False where it returned at once, because this kernel lacks it, say.
  bool falls_asleep() {
    return wait_until([this] { return report_->returned || child_.is_blocked_in({call_.number}); }) &&
           !report_->returned;
  }

  // Sleeps again, in the call itself or in what the kernel calls to resume it, and has never returned in
  // between.
  void expect_asleep_again() {
    EXPECT_TRUE(wait_until([this] {
      return report_->returned || child_.is_blocked_in({call_.number, SYS_restart_syscall});
    }));
    EXPECT_FALSE(report_->returned) << "returned " << report_->result << ", errno " << report_->error;
  }

 private:
  BlockingCall call_;
  Shared<Report> report_;
  Child child_{[this] {
    report_->result = call_.run(*report_);
    report_->error = errno;
    report_->returned = true;
    for (;;) pause();
    return 0;
  }};
};

class BlockingCalls : public testing::TestWithParam<BlockingCall> {
 protected:
  void SetUp() override {
    if (caller_.falls_asleep()) {
      caller_.child().stop();
      return;
    }
    int error = caller_.report().error;
    if (error == ENOSYS || error == EPERM)
      GTEST_SKIP() << GetParam().name << " is refused here: errno " << error;
    GTEST_FAIL() << "returned " << caller_.report().result << " without a stop, errno " << error;
  }

  std::int64_t result_in_stop() { return static_cast<std::int64_t>(caller_.child().registers().rax); }

  Caller caller_{GetParam()};
};

class RestartingCalls : public BlockingCalls {};
class InterruptedCalls : public BlockingCalls {};

TEST_P(RestartingCalls, SleepOnAfterAStop) {
  std::int64_t result = result_in_stop();
  EXPECT_TRUE(result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand ||
              result == kRestartBlock)
      << result;
  caller_.child().detach();
  caller_.expect_asleep_again();
}

TEST_P(InterruptedCalls, ReturnEintrAfterAStop) {
  EXPECT_EQ(result_in_stop(), -EINTR);
  caller_.child().detach();
  ASSERT_TRUE(wait_until([this] { return caller_.report().returned.load(); }));
  EXPECT_EQ(caller_.report().result, -1);
  EXPECT_EQ(caller_.report().error, EINTR);
}

TEST_P(InterruptedCalls, SleepOnWhenWoundBack) {
  user_regs_struct registers = caller_.child().registers();
  ASSERT_EQ(static_cast<std::int64_t>(registers.rax), -EINTR);
  registers.rax = registers.orig_rax;
  registers.rip -= 2;
  caller_.child().set_registers(registers);
  caller_.child().detach();
  caller_.expect_asleep_again();
}

std::string call_name(const testing::TestParamInfo<BlockingCall>& parameter) { return parameter.param.name; }
INSTANTIATE_TEST_SUITE_P(Calls, RestartingCalls, testing::ValuesIn(kRestarting), call_name);
INSTANTIATE_TEST_SUITE_P(Calls, InterruptedCalls, testing::ValuesIn(kInterrupted), call_name);

// One call for each state that an interrupted call can be in.
struct InterruptedState {
  BlockingCall call;
  std::int64_t state;
};

class InterruptedStates : public testing::TestWithParam<InterruptedState> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(caller_.falls_asleep());
    child().stop();
    ASSERT_EQ(static_cast<std::int64_t>(child().registers().rax), GetParam().state);
  }

  Child& child() { return caller_.child(); }

  Caller caller_{GetParam().call};
};

TEST_P(InterruptedStates, SurviveARemoteCallBySingleStep) {
  EXPECT_EQ(child().remote_call(syscall_instruction(), SYS_getpid, {}), child().pid());
  child().detach();
  caller_.expect_asleep_again();
}

TEST_P(InterruptedStates, SurviveARemoteCallBySyscallStops) {
  user_regs_struct saved = child().registers();
  user_regs_struct call = saved;
  call.rip = syscall_instruction();
  call.rax = SYS_getpid;
  call.orig_rax = ~0ULL;
  child().set_registers(call);
  for (int stop = 0; stop < 2; ++stop) {  // entry, exit
    ASSERT_EQ(ptrace(PTRACE_SYSCALL, child().pid(), nullptr, nullptr), 0);
    child().wait_for_stop();
  }
  EXPECT_EQ(static_cast<pid_t>(child().registers().rax), child().pid());
  child().set_registers(saved);
  child().detach();
  caller_.expect_asleep_again();
}

INSTANTIATE_TEST_SUITE_P(
    States, InterruptedStates,
    testing::Values(InterruptedState{{"read", SYS_read, call_eventfd_read}, kRestartSys},
                    InterruptedState{{"select", SYS_select, call_select}, kRestartNoHand},
                    InterruptedState{{"nanosleep", SYS_nanosleep, call_nanosleep}, kRestartBlock}),
    [](const auto& parameter) { return std::string(parameter.param.call.name); });

}  // namespace
}  // namespace ckpt::assumptions
