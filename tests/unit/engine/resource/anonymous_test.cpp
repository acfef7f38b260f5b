// memfd, eventfd, timerfd, signalfd, epoll.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/memfd.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>

#include "base/error.h"
#include "base/file_io.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

TEST(Memfds, KeepNameContentSealsModeAndOffset) {
  auto saved = save_program([] {
    put_at(::memfd_create("thing", MFD_ALLOW_SEALING), 5);
    require_equal(::ftruncate(5, 5000), 0, "ftruncate");
    require_equal(::pwrite(5, "hello", 5, 4097), 5, "pwrite");
    require_equal(::fchmod(5, 0640), 0, "fchmod");
    require_equal(::lseek(5, 4097, SEEK_SET), 4097, "lseek");
    require_equal(::fcntl(5, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE), 0, "seals");
    put_at(::open("/proc/self/fd/5", O_RDONLY), 6);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              require(read_link("/proc/self/fd/5") == "/memfd:thing (deleted)", "name");
              require(read_available(5, 5) == "hello", "content");
              require_equal(::fcntl(5, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_WRITE, "seals");
              struct stat status {};
              ::fstat(5, &status);
              require_equal(status.st_size, 5000, "size");
              require_equal(status.st_mode & 07777U, 0640, "mode");
              struct stat other {};
              ::fstat(6, &other);
              require(other.st_ino == status.st_ino && !same_file_description(5, 6), "two descriptions");
              require_equal(::fcntl(6, F_GETFL) & O_ACCMODE, O_RDONLY, "access mode");
              require_equal(::lseek(6, 0, SEEK_CUR), 0, "offset of its own");
            }));
}

TEST(Memfds, HolesAreNotSaved) {
  auto saved = save_program([] {
    put_at(::memfd_create("sparse", 0), 5);
    require_equal(::ftruncate(5, 1LL << 40), 0, "ftruncate");
    require_equal(::pwrite(5, "x", 1, 1LL << 39), 1, "pwrite");
  });
  EXPECT_EQ(1U, saved->pages.page_count());
  EXPECT_EQ("", look_inside(*saved, [] {
              struct stat status {};
              ::fstat(5, &status);
              require_equal(status.st_size, 1LL << 40, "size");
              require(status.st_blocks <= 16, "still sparse");
              require_equal(::fcntl(5, F_GET_SEALS), F_SEAL_SEAL, "sealing was not allowed");
              char byte = 0;
              require_equal(::pread(5, &byte, 1, 1LL << 39), 1, "pread");
              require(byte == 'x', "content");
            }));
}

TEST(Memfds, ObjectsAreFoundByDeviceAndInode) {
  ObjectTable table;
  auto object = std::make_unique<image::SharedObjectT>();
  object->device = 1;
  object->inode = 2;
  EXPECT_EQ(0, table.add(std::move(object)));
  EXPECT_EQ(0, table.find(1, 2));
  EXPECT_EQ(-1, table.find(2, 1));
  EXPECT_NE(table.at(0).space, table.fresh_space());
}

TEST(Eventfds, KeepCountAndSemaphoreMode) {
  auto saved = save_program([] {
    put_at(::eventfd(0, EFD_SEMAPHORE), 5);
    put_at(::eventfd(0, EFD_NONBLOCK), 6);
    require_equal(::eventfd_write(5, 3), 0, "write");
    require_equal(::eventfd_write(6, 0xfffffffffffffffeULL), 0, "write");
    put_at(::eventfd(0, EFD_NONBLOCK), 7);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              eventfd_t value = 0;
              require_equal(::eventfd_read(5, &value), 0, "read 5");
              require_equal(static_cast<long long>(value), 1, "semaphore");
              require((::fcntl(5, F_GETFL) & O_NONBLOCK) == 0, "blocking");
              require_equal(::eventfd_read(6, &value), 0, "read 6");
              require(value == 0xfffffffffffffffeULL, "count");
              require(::eventfd_read(7, &value) < 0 && errno == EAGAIN, "empty and non-blocking");
            }));
}

itimerspec remaining(int fd) {
  itimerspec value{};
  require_equal(::timerfd_gettime(fd, &value), 0, "timerfd_gettime");
  return value;
}

TEST(Timerfds, ContinueWithWhatWasLeft) {
  auto saved = save_program([] {
    put_at(::timerfd_create(CLOCK_MONOTONIC, 0), 5);
    itimerspec when{{7, 5}, {1000, 0}};
    require_equal(::timerfd_settime(5, 0, &when, nullptr), 0, "settime");
    put_at(::timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), 6);
    when = {{0, 0}, {4'000'000'000, 0}};
    require_equal(::timerfd_settime(6, TFD_TIMER_ABSTIME, &when, nullptr), 0, "settime");
    put_at(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK), 7);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              itimerspec left = remaining(5);
              require(left.it_value.tv_sec >= 900 && left.it_value.tv_sec <= 1000, "remaining");
              require(left.it_interval.tv_sec == 7 && left.it_interval.tv_nsec == 5, "interval");
              timespec now{};
              ::clock_gettime(CLOCK_REALTIME, &now);
              long due = now.tv_sec + remaining(6).it_value.tv_sec;
              require(due >= 3'999'999'995 && due <= 4'000'000'005, "due at the same time of day");
              require(remaining(7).it_value.tv_sec == 0, "not armed");
              std::uint64_t ticks = 0;
              require(::read(7, &ticks, sizeof ticks) < 0 && errno == EAGAIN, "no ticks");
              require(read_file("/proc/self/fdinfo/6").find("settime flags: 01") != std::string::npos,
                      "absolute");
            }));
}

void wait_readable(int fd) {
  pollfd poller{fd, POLLIN, 0};
  require_equal(::poll(&poller, 1, -1), 1, "poll");
}

TEST(Timerfds, ExpirationsNotReadYetAreKept) {
  auto saved = save_program([] {
    put_at(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 5);
    itimerspec once{{0, 0}, {0, 1}};
    require_equal(::timerfd_settime(5, 0, &once, nullptr), 0, "settime");
    wait_readable(5);
    put_at(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), 6);
    itimerspec periodic{{1000, 0}, {0, 1}};
    require_equal(::timerfd_settime(6, 0, &periodic, nullptr), 0, "settime");
    wait_readable(6);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              std::uint64_t ticks = 0;
              require_equal(::read(5, &ticks, sizeof ticks), 8, "read");
              require_equal(static_cast<long long>(ticks), 1, "ticks");
              require(remaining(5).it_value.tv_sec == 0, "once only");
              require_equal(::read(6, &ticks, sizeof ticks), 8, "read");
              require_equal(static_cast<long long>(ticks), 1, "ticks of the periodic one");
              long left = remaining(6).it_value.tv_sec;
              require(left >= 900 && left <= 1000, "phase");
            }));
}

TEST(Signalfds, KeepTheirSignals) {
  auto saved = save_program([] {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, SIGUSR1);
    ::sigaddset(&set, SIGRTMAX);
    put_at(::signalfd(-1, &set, SFD_NONBLOCK), 5);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              sigset_t set;
              ::sigfillset(&set);
              ::sigprocmask(SIG_BLOCK, &set, nullptr);
              signalfd_siginfo info{};
              require(::read(5, &info, sizeof info) < 0 && errno == EAGAIN, "empty and non-blocking");
              ::raise(SIGUSR2);
              ::raise(SIGRTMAX);
              require_equal(::read(5, &info, sizeof info), sizeof info, "read");
              require_equal(info.ssi_signo, SIGRTMAX, "signal");
            }));
}

void watch(int epoll, int fd, std::uint32_t events, std::uint64_t data) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  require_equal(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0, "EPOLL_CTL_ADD");
}

TEST(Epolls, WatchTheSameDescriptorsAgain) {
  auto saved = save_program([] {
    put_at(::epoll_create1(0), 5);
    put_at(::eventfd(0, 0), 30);
    put_at(::eventfd(0, 0), 31);
    put_at(::epoll_create1(EPOLL_CLOEXEC), 4);
    watch(5, 30, EPOLLIN, 0x1234567890abcdef);
    watch(5, 31, EPOLLIN | EPOLLET, 2);
    watch(4, 5, EPOLLIN, 3);
    ::dup2(30, 32);
    watch(5, 32, EPOLLIN | EPOLLONESHOT, 4);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              std::array<epoll_event, 4> events{};
              require_equal(::epoll_wait(4, events.data(), 4, 0), 0, "nothing yet");
              require_equal(::eventfd_write(30, 1), 0, "write");
              require_equal(::epoll_wait(4, events.data(), 4, 0), 1, "the outer one");
              require(events[0].data.u64 == 3, "data of the outer one");
              require_equal(::epoll_wait(5, events.data(), 4, 0), 2, "both entries of one description");
              bool found =
                  events[0].data.u64 == 0x1234567890abcdef || events[1].data.u64 == 0x1234567890abcdef;
              require(found, "data");
              require_equal(::epoll_wait(5, events.data(), 4, 0), 1, "one of them only once");
            }));
}

TEST(Epolls, EntryWhoseDescriptorWasClosedKeepsItsNumber) {
  auto saved = save_program([] {
    put_at(::epoll_create1(0), 5);
    put_at(::eventfd(0, 0), 6);
    watch(5, 6, EPOLLIN, 11);
    ::dup2(6, 7);
    put_at(::eventfd(0, 0), 6);  // the number belongs to another now
    put_at(::eventfd(0, 0), 8);
    watch(5, 8, EPOLLIN, 12);
    ::dup2(8, 9);
    ::close(8);
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              std::array<epoll_event, 4> events{};
              require(!is_open(8), "the number stays closed");
              require_equal(::eventfd_write(6, 1), 0, "write");
              require_equal(::epoll_wait(5, events.data(), 4, 0), 0, "the new owner of the number");
              require_equal(::eventfd_write(7, 1), 0, "write");
              require_equal(::epoll_wait(5, events.data(), 4, 0), 1, "the old one");
              require(events[0].data.u64 == 11, "its data");
              require_equal(::eventfd_write(9, 1), 0, "write");
              require_equal(::epoll_wait(5, events.data(), 4, 0), 2, "both");
              watch(5, 6, EPOLLIN, 13);  // other key: same number, other file
            }));
}

TEST(Epolls, OneshotThatHasFiredStaysQuiet) {
  auto saved = save_program([] {
    std::array<epoll_event, 4> events{};
    put_at(::epoll_create1(0), 5);
    put_at(::eventfd(1, 0), 6);
    put_at(::eventfd(1, 0), 7);
    watch(5, 6, EPOLLIN | EPOLLONESHOT, 1);
    watch(5, 7, EPOLLIN | EPOLLONESHOT, 2);
    require_equal(::epoll_wait(5, events.data(), 1, 0), 1, "one fires");
  });
  EXPECT_EQ("", look_inside(*saved, [] {
              std::array<epoll_event, 4> events{};
              require_equal(::epoll_wait(5, events.data(), 4, 0), 1, "the other one fires");
              require_equal(::epoll_wait(5, events.data(), 4, 0), 0, "none fires twice");
              epoll_event again{};
              again.events = EPOLLIN | EPOLLONESHOT;
              require_equal(::epoll_ctl(5, EPOLL_CTL_MOD, 6, &again), 0, "still registered");
            }));
}

}  // namespace
}  // namespace ckpt::engine
