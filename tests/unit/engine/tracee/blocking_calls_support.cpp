#include "blocking_calls_support.h"

#include <fcntl.h>
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
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

#include "support/child_with_parent.h"
#include "support/ring_call.h"

namespace ckpt::engine {
namespace {

constexpr long kMilliseconds = kCallDuration.count();
constexpr timespec kDuration{.tv_sec = kMilliseconds / 1000, .tv_nsec = kMilliseconds % 1000 * 1'000'000};
constexpr timeval kDurationMicro{.tv_sec = kMilliseconds / 1000, .tv_usec = kMilliseconds % 1000 * 1000};
constexpr std::size_t kSignalSetBytes = 8;

timespec deadline(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  time.tv_sec += kDuration.tv_sec;
  time.tv_nsec += kDuration.tv_nsec;
  if (time.tv_nsec >= 1'000'000'000) {
    time.tv_nsec -= 1'000'000'000;
    ++time.tv_sec;
  }
  return time;
}

int silent_pipe() {
  int ends[2];
  return ::pipe(ends) == 0 ? ends[0] : -1;
}

// A process that does something when the duration is over.
void later(const std::function<void()>& action) {
  if (tests::fork_child_that_ends_with_parent() != 0) return;
  timespec time = kDuration;
  ::nanosleep(&time, nullptr);
  action();
  ::_exit(0);
}

void on_alarm(int /*signal*/) {}

// No SA_RESTART: the alarm ends a call.
void arm_alarm() {
  struct sigaction action {};
  action.sa_handler = on_alarm;
  ::sigaction(SIGALRM, &action, nullptr);
  itimerval timer{.it_interval = {}, .it_value = kDurationMicro};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

int silent_epoll() {
  int epoll = ::epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, silent_pipe(), &event);
  return epoll;
}

int silent_timer() {
  int timer = ::timerfd_create(CLOCK_MONOTONIC, 0);
  itimerspec setting{.it_interval = {}, .it_value = kDuration};
  ::timerfd_settime(timer, 0, &setting, nullptr);
  return timer;
}

std::array<int, 2> socket_pair() {
  std::array<int, 2> ends{};
  ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data());
  return ends;
}

int impatient_socket(int option) {
  std::array<int, 2> ends = socket_pair();
  ::setsockopt(ends[0], SOL_SOCKET, option, &kDurationMicro, sizeof(kDurationMicro));
  return ends[0];
}

long run_nanosleep() {
  timespec time = kDuration;
  return ::syscall(SYS_nanosleep, &time, &time);
}
long run_clock_nanosleep() {
  timespec time = kDuration;
  return ::syscall(SYS_clock_nanosleep, CLOCK_REALTIME, 0, &time, nullptr);
}
long run_clock_nanosleep_until() {
  timespec time = deadline(CLOCK_MONOTONIC);
  return ::syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr);
}
long run_poll() {
  pollfd file{.fd = silent_pipe(), .events = POLLIN, .revents = 0};
  return ::syscall(SYS_poll, &file, 1, kMilliseconds);
}
long run_ppoll() {
  pollfd file{.fd = silent_pipe(), .events = POLLIN, .revents = 0};
  timespec time = kDuration;
  return ::syscall(SYS_ppoll, &file, 1, &time, nullptr, kSignalSetBytes);
}
long run_select() {
  fd_set files;
  FD_ZERO(&files);
  int file = silent_pipe();
  FD_SET(file, &files);
  timeval time = kDurationMicro;
  return ::syscall(SYS_select, file + 1, &files, nullptr, nullptr, &time);
}
long run_pselect6() {
  timespec time = kDuration;
  return ::syscall(SYS_pselect6, 0, nullptr, nullptr, nullptr, &time, nullptr);
}
long run_epoll_wait() {
  epoll_event event{};
  return ::syscall(SYS_epoll_wait, silent_epoll(), &event, 1, kMilliseconds);
}
long run_epoll_wait_for_event() {
  int epoll = ::epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {}};
  ::epoll_ctl(epoll, EPOLL_CTL_ADD, silent_timer(), &event);
  return ::syscall(SYS_epoll_wait, epoll, &event, 1, -1);
}
long run_epoll_pwait() {
  epoll_event event{};
  sigset_t none;
  ::sigemptyset(&none);
  return ::syscall(SYS_epoll_pwait, silent_epoll(), &event, 1, kMilliseconds, &none, kSignalSetBytes);
}
long run_epoll_pwait2() {
  epoll_event event{};
  timespec time = kDuration;
  return ::syscall(SYS_epoll_pwait2, silent_epoll(), &event, 1, &time, nullptr, kSignalSetBytes);
}
long run_futex_wait() {
  static std::uint32_t word = 0;
  timespec time = kDuration;
  return ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, nullptr, 0);
}
long run_futex_wait_until() {
  static std::uint32_t word = 0;
  timespec time = deadline(CLOCK_MONOTONIC);
  return ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &time, nullptr, FUTEX_BITSET_MATCH_ANY);
}
long run_futex_waitv() {
  static std::uint32_t word = 0;
  futex_waitv wait{.val = 0,
                   .uaddr = reinterpret_cast<std::uintptr_t>(&word),
                   .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG,
                   .__reserved = 0};
  timespec time = deadline(CLOCK_MONOTONIC);
  return ::syscall(SYS_futex_waitv, &wait, 1, 0, &time, CLOCK_MONOTONIC);
}
long run_futex_lock_pi() {
  static std::uint32_t word = 0;
  word = static_cast<std::uint32_t>(::getppid());
  timespec time = deadline(CLOCK_REALTIME);
  return ::syscall(SYS_futex, &word, FUTEX_LOCK_PI, 0, &time, nullptr, 0);
}
long run_rt_sigtimedwait() {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  timespec time = kDuration;
  return ::syscall(SYS_rt_sigtimedwait, &signals, nullptr, &time, kSignalSetBytes);
}
long run_rt_sigsuspend() {
  arm_alarm();
  sigset_t none;
  ::sigemptyset(&none);
  return ::syscall(SYS_rt_sigsuspend, &none, kSignalSetBytes);
}
long run_pause() {
  arm_alarm();
  return ::syscall(SYS_pause);
}
long run_semtimedop() {
  int set = ::semget(IPC_PRIVATE, 1, 0600);
  sembuf take{.sem_num = 0, .sem_op = -1, .sem_flg = 0};
  timespec time = kDuration;
  long result = ::syscall(SYS_semtimedop, set, &take, 1, &time);
  int error = errno;
  ::semctl(set, 0, IPC_RMID);
  errno = error;
  return result;
}
long run_semop() {
  int set = ::semget(IPC_PRIVATE, 1, 0600);
  later([set] {
    sembuf give{.sem_num = 0, .sem_op = 1, .sem_flg = 0};
    ::semop(set, &give, 1);
  });
  sembuf take{.sem_num = 0, .sem_op = -1, .sem_flg = 0};
  long result = ::syscall(SYS_semop, set, &take, 1);
  int error = errno;
  ::semctl(set, 0, IPC_RMID);
  errno = error;
  return result;
}
struct Message {
  long type = 1;
  std::array<char, 8> text{};
};
long run_msgrcv() {
  int queue = ::msgget(IPC_PRIVATE, 0600);
  later([queue] {
    Message message;
    ::msgsnd(queue, &message, message.text.size(), 0);
  });
  Message message;
  long result = ::syscall(SYS_msgrcv, queue, &message, message.text.size(), 0, 0);
  int error = errno;
  ::msgctl(queue, IPC_RMID, nullptr);
  errno = error;
  return result;
}
long run_inotify_read() {
  std::string folder = "/tmp/ckpt-inotify-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return -1;
  int watcher = ::inotify_init1(0);
  ::inotify_add_watch(watcher, folder.c_str(), IN_DELETE_SELF);
  later([&folder] { ::rmdir(folder.c_str()); });
  std::array<char, 4096> events{};
  return ::syscall(SYS_read, watcher, events.data(), events.size()) > 0 ? 1 : -1;
}
long run_io_getevents() {
  aio_context_t context = 0;
  ::syscall(SYS_io_setup, 1, &context);
  io_event event{};
  timespec time = kDuration;
  return ::syscall(SYS_io_getevents, context, 1, 1, &event, &time);
}
long run_io_pgetevents() {
  aio_context_t context = 0;
  ::syscall(SYS_io_setup, 1, &context);
  io_event event{};
  timespec time = kDuration;
  return ::syscall(SYS_io_pgetevents, context, 1, 1, &event, &time, nullptr);
}
long run_io_uring_enter() {
  io_uring_params parameters{};
  long ring = ring_call(SYS_io_uring_setup, 4, reinterpret_cast<intptr_t>(&parameters), nullptr, 0);
  timespec time = kDuration;
  io_uring_getevents_arg wait{};
  wait.ts = reinterpret_cast<std::uintptr_t>(&time);
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  return ::syscall(SYS_io_uring_enter, ring, 0, 1, flags, &wait, sizeof(wait));
}
long run_eventfd_read() {
  int event = ::eventfd(0, 0);
  later([event] { ::eventfd_write(event, 1); });
  std::uint64_t count = 0;
  return ::syscall(SYS_read, event, &count, sizeof(count));
}
long run_timerfd_read() {
  std::uint64_t count = 0;
  return ::syscall(SYS_read, silent_timer(), &count, sizeof(count));
}
long run_recvfrom() {
  std::array<int, 2> ends = socket_pair();
  later([ends] { ::send(ends[1], "x", 1, 0); });
  char byte = 0;
  return ::syscall(SYS_recvfrom, ends[0], &byte, 1, 0, nullptr, nullptr);
}
long run_recvfrom_impatiently() {
  char byte = 0;
  return ::syscall(SYS_recvfrom, impatient_socket(SO_RCVTIMEO), &byte, 1, 0, nullptr, nullptr);
}
long run_socket_read_impatiently() {
  char byte = 0;
  return ::syscall(SYS_read, impatient_socket(SO_RCVTIMEO), &byte, 1);
}
long run_recvmsg_impatiently() {
  char byte = 0;
  iovec part{.iov_base = &byte, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  return ::syscall(SYS_recvmsg, impatient_socket(SO_RCVTIMEO), &message, 0);
}
long run_recvmmsg_impatiently() {
  int socket = ::socket(AF_INET, SOCK_DGRAM, 0);
  sockaddr_in any{};
  any.sin_family = AF_INET;
  if (::bind(socket, reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0) return -1;
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kDurationMicro, sizeof(kDurationMicro));
  std::array<char, 8> bytes{};
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  mmsghdr message{};
  message.msg_hdr.msg_iov = &part;
  message.msg_hdr.msg_iovlen = 1;
  return ::syscall(SYS_recvmmsg, socket, &message, 1, 0, nullptr);
}
long run_accept_impatiently() {
  int socket = ::socket(AF_INET, SOCK_STREAM, 0);
  ::listen(socket, 1);
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kDurationMicro, sizeof(kDurationMicro));
  return ::syscall(SYS_accept4, socket, nullptr, nullptr, 0);
}
long run_send_impatiently() {
  int socket = impatient_socket(SO_SNDTIMEO);
  std::array<char, 4096> bytes{};
  while (::send(socket, bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
  return ::syscall(SYS_sendto, socket, bytes.data(), bytes.size(), 0, nullptr, 0);
}
long run_wait4() {
  later([] {});
  return ::syscall(SYS_wait4, -1, nullptr, 0, nullptr) > 0 ? 0 : -1;
}

std::FILE* locked_elsewhere(bool by_range) {
  std::FILE* file = std::tmpfile();
  std::string path = "/proc/self/fd/" + std::to_string(::fileno(file));
  int ready[2];
  if (::pipe(ready) != 0) return nullptr;
  if (tests::fork_child_that_ends_with_parent() == 0) {
    int own = ::open(path.c_str(), O_RDWR);
    struct flock range {};
    range.l_type = F_WRLCK;
    bool locked = by_range ? ::fcntl(own, F_SETLK, &range) == 0 : ::flock(own, LOCK_EX) == 0;
    if (!locked || ::write(ready[1], "x", 1) != 1) ::_exit(1);
    timespec time = kDuration;
    ::nanosleep(&time, nullptr);
    ::_exit(0);
  }
  char byte = 0;
  return ::read(ready[0], &byte, 1) == 1 ? file : nullptr;
}
long run_flock() { return ::syscall(SYS_flock, ::fileno(locked_elsewhere(false)), LOCK_EX); }
long run_fcntl_setlkw() {
  struct flock range {};
  range.l_type = F_WRLCK;
  return ::syscall(SYS_fcntl, ::fileno(locked_elsewhere(true)), F_SETLKW, &range);
}
long run_mq_timedreceive() {
  std::string name = "/ckpt-test-" + std::to_string(::getpid());
  mq_attr attributes{};
  attributes.mq_maxmsg = 1;
  attributes.mq_msgsize = 8;
  mqd_t queue = ::mq_open(name.c_str(), O_CREAT | O_RDWR, 0600, &attributes);
  ::mq_unlink(name.c_str());
  std::array<char, 8> text{};
  timespec time = deadline(CLOCK_REALTIME);
  return ::syscall(SYS_mq_timedreceive, queue, text.data(), text.size(), nullptr, &time);
}

constexpr BlockingCall kCalls[] = {
    {"nanosleep", SYS_nanosleep, run_nanosleep, 0, 0, true},
    {"clock_nanosleep", SYS_clock_nanosleep, run_clock_nanosleep, 0, 0, true},
    {"clock_nanosleep_until", SYS_clock_nanosleep, run_clock_nanosleep_until, 0, 0, true},
    {"poll", SYS_poll, run_poll, 0, 0, true},
    {"ppoll", SYS_ppoll, run_ppoll, 0, 0, true},
    {"select", SYS_select, run_select, 0, 0, true},
    {"pselect6", SYS_pselect6, run_pselect6, 0, 0, true},
    {"epoll_wait", SYS_epoll_wait, run_epoll_wait, 0, 0, true},
    {"epoll_wait_for_event", SYS_epoll_wait, run_epoll_wait_for_event, 1, 0, false},
    {"epoll_pwait", SYS_epoll_pwait, run_epoll_pwait, 0, 0, true},
    {"epoll_pwait2", SYS_epoll_pwait2, run_epoll_pwait2, 0, 0, true},
    {"futex_wait", SYS_futex, run_futex_wait, -1, ETIMEDOUT, true},
    {"futex_wait_until", SYS_futex, run_futex_wait_until, -1, ETIMEDOUT, true},
    {"futex_waitv", SYS_futex_waitv, run_futex_waitv, -1, ETIMEDOUT, true},
    {"futex_lock_pi", SYS_futex, run_futex_lock_pi, -1, ETIMEDOUT, true},
    {"rt_sigtimedwait", SYS_rt_sigtimedwait, run_rt_sigtimedwait, -1, EAGAIN, true},
    {"rt_sigsuspend", SYS_rt_sigsuspend, run_rt_sigsuspend, -1, EINTR, false},
    {"pause", SYS_pause, run_pause, -1, EINTR, false},
    {"semtimedop", SYS_semtimedop, run_semtimedop, -1, EAGAIN, true},
    {"semop", SYS_semop, run_semop, 0, 0, false},
    {"msgrcv", SYS_msgrcv, run_msgrcv, 8, 0, false},
    {"inotify_read", SYS_read, run_inotify_read, 1, 0, false},
    {"io_getevents", SYS_io_getevents, run_io_getevents, 0, 0, true},
    {"io_pgetevents", SYS_io_pgetevents, run_io_pgetevents, 0, 0, true},
    {"io_uring_enter", SYS_io_uring_enter, run_io_uring_enter, -1, ETIME, true},
    {"eventfd_read", SYS_read, run_eventfd_read, 8, 0, false},
    {"timerfd_read", SYS_read, run_timerfd_read, 8, 0, false},
    {"recvfrom", SYS_recvfrom, run_recvfrom, 1, 0, false},
    {"recvfrom_impatiently", SYS_recvfrom, run_recvfrom_impatiently, -1, EAGAIN, true},
    {"socket_read_impatiently", SYS_read, run_socket_read_impatiently, -1, EAGAIN, true},
    {"recvmsg_impatiently", SYS_recvmsg, run_recvmsg_impatiently, -1, EAGAIN, true},
    {"recvmmsg_impatiently", SYS_recvmmsg, run_recvmmsg_impatiently, -1, EAGAIN, true},
    {"accept_impatiently", SYS_accept4, run_accept_impatiently, -1, EAGAIN, true},
    {"send_impatiently", SYS_sendto, run_send_impatiently, -1, EAGAIN, true},
    {"wait4", SYS_wait4, run_wait4, 0, 0, false},
    {"flock", SYS_flock, run_flock, 0, 0, false},
    {"fcntl_setlkw", SYS_fcntl, run_fcntl_setlkw, 0, 0, false},
    {"mq_timedreceive", SYS_mq_timedreceive, run_mq_timedreceive, -1, ETIMEDOUT, true},
};

}  // namespace

std::span<const BlockingCall> blocking_calls() { return kCalls; }

}  // namespace ckpt::engine
