// Descriptor numbers: which are inherited, which collide, which cannot be had.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/error.h"
#include "base/file_io.h"
#include "resource/program_support.h"

namespace ckpt::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Puts a descriptor in the place of one of the test's own 0, 1, 2 for a while.
class Standing {
 public:
  Standing(int fd, int number) : number_(number), before_(::fcntl(number, F_DUPFD_CLOEXEC, 200)) {
    ::dup2(fd, number);
  }
  ~Standing() {
    if (before_) {
      ::dup2(before_.get(), number_);
    } else {
      ::close(number_);
    }
  }
  Standing(const Standing&) = delete;
  Standing& operator=(const Standing&) = delete;

 private:
  int number_;
  UniqueFd before_;
};

TEST(Inherited, FollowTheNewSession) {
  TemporaryDirectory directory;
  std::string old_path = directory.file_with("old", "");
  std::string new_path = directory.file_with("new", "");
  std::unique_ptr<SavedProgram> saved;
  {
    UniqueFd old_output = open_or_throw(old_path, O_WRONLY);
    Standing standing(old_output.get(), 1);
    saved = save_program([] { ::dup2(1, 9); });
  }
  EXPECT_EQ(1, saved->description(9).detail.AsInheritedDetail()->number);
  EXPECT_EQ(saved->descriptor(1)->description, saved->descriptor(9)->description);
  UniqueFd new_output = open_or_throw(new_path, O_WRONLY);
  Standing standing(new_output.get(), 1);
  EXPECT_EQ("", look_inside(*saved, [] {
              require(same_file_description(1, 9), "shared");
              require_equal(::write(9, "hello", 5), 5, "write");
            }));
  EXPECT_EQ("hello", read_file(new_path));
  EXPECT_EQ("", read_file(old_path));
}

TEST(Inherited, CrossedNumbersAndClosedOnes) {
  TemporaryDirectory directory;
  std::array<std::string, 3> paths;
  std::array<UniqueFd, 3> files;
  std::array<std::optional<Standing>, 3> standing;
  for (int i = 0; i < 3; ++i) {
    auto index = static_cast<std::size_t>(i);
    paths[index] = directory.file_with(std::to_string(i), "");
    files[index] = UniqueFd(::fcntl(open_or_throw(paths[index], O_RDWR).get(), F_DUPFD_CLOEXEC, 300));
  }
  for (int i = 0; i < 3; ++i)
    standing[static_cast<std::size_t>(i)].emplace(files[static_cast<std::size_t>(i)].get(), i);
  auto saved = save_program([] {
    ::dup2(2, 3);
    ::dup2(1, 2);
    ::dup2(3, 1);
    ::close(3);
    ::close(0);
    ::dup2(1, 4);
  });
  std::string result = look_inside(*saved, [&] {
    require(!is_open(0) && !is_open(3), "closed numbers stay closed");
    require(read_link("/proc/self/fd/1") == paths[2], "1 is ckptrun's 2");
    require(read_link("/proc/self/fd/2") == paths[1], "2 is ckptrun's 1");
    require(same_file_description(1, 4), "4");
  });
  for (auto& one : standing) one.reset();
  EXPECT_EQ("", result);
}

TEST(Inherited, ClosedInTheNewSessionIsTheNullDevice) {
  auto saved = save_program([] {});
  EXPECT_EQ("", look_inside(
                    *saved, [] { require(read_link("/proc/self/fd/0") == "/dev/null", "null device"); },
                    [] { ::close(0); }));
}

TEST(Inherited, PipeOpenedOnceMoreFollowsToo) {
  std::array<int, 2> ends{};
  ASSERT_EQ(0, ::pipe2(ends.data(), O_CLOEXEC));
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::unique_ptr<SavedProgram> saved;
  {
    Standing standing(write_end.get(), 1);
    saved = save_program([] { put_at(::open("/dev/stdout", O_WRONLY | O_NONBLOCK), 5); });
  }
  ASSERT_EQ(image::DescriptionDetail::InheritedDetail, saved->description(5).detail.type);
  EXPECT_TRUE(saved->description(5).detail.AsInheritedDetail()->reopened);
  Standing standing(write_end.get(), 1);
  EXPECT_EQ("", look_inside(*saved, [] {
              require(!same_file_description(1, 5), "a description of its own");
              require((::fcntl(5, F_GETFL) & O_NONBLOCK) != 0 && (::fcntl(1, F_GETFL) & O_NONBLOCK) == 0,
                      "flags");
              require_equal(::write(5, "x", 1), 1, "write");
            }));
  EXPECT_EQ("x", read_available(read_end.get()));
}

TEST(Inherited, WatchedByEpollThoughItCannotBe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(0, ::pipe2(ends.data(), O_CLOEXEC));
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  std::unique_ptr<SavedProgram> saved;
  {
    Standing standing(read_end.get(), 0);
    saved = save_program([] {
      put_at(::epoll_create1(0), 5);
      epoll_event event{};
      event.events = EPOLLIN;
      require_equal(::epoll_ctl(5, EPOLL_CTL_ADD, 0, &event), 0, "EPOLL_CTL_ADD");
    });
  }
  UniqueFd null = open_or_throw("/dev/null", O_RDONLY);
  Standing standing(null.get(), 0);
  EXPECT_EQ("", look_inside(*saved, [] { require(is_open(5), "epoll"); }));
}

TEST(Terminals, ThatTheProgramOpenedOpenAgain) {
  int master = -1;
  int slave = -1;
  ASSERT_EQ(0, ::openpty(&master, &slave, nullptr, nullptr, nullptr));
  UniqueFd own_master(master);
  UniqueFd own_slave(slave);
  std::string path = read_link("/proc/self/fd/" + std::to_string(slave));
  auto saved = save_program([&] { put_at(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK), 5); });
  EXPECT_FALSE(saved->description(5).detail.AsTerminalDetail()->controlling);
  EXPECT_EQ("", look_inside(*saved, [&] {
              require(::isatty(5) != 0, "terminal");
              require(read_link("/proc/self/fd/5") == path, "path");
              require((::fcntl(5, F_GETFL) & O_NONBLOCK) != 0, "flags");
            }));
}

TEST(Terminals, GoneOneFollowsTheSessionsOrIsNamed) {
  // Whoever else opens one meanwhile gets the lowest free number: one of theirs, not that of the one that is
  // gone.
  std::vector<UniqueFd> lower(32);
  for (UniqueFd& fd : lower) fd = UniqueFd(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  int master = -1;
  int slave = -1;
  ASSERT_EQ(0, ::openpty(&master, &slave, nullptr, nullptr, nullptr));
  lower.clear();
  UniqueFd old_master(master);
  UniqueFd old_slave(slave);
  std::string path = read_link("/proc/self/fd/" + std::to_string(slave));
  auto saved = save_program([&] { put_at(::open(path.c_str(), O_RDWR | O_NOCTTY), 5); });
  ASSERT_EQ(0, ::openpty(&master, &slave, nullptr, nullptr, nullptr));
  UniqueFd new_master(master);
  UniqueFd new_slave(slave);
  std::string new_path = read_link("/proc/self/fd/" + std::to_string(slave));
  old_slave.reset();
  old_master.reset();
  auto leave_session = [&] { ::setsid(); };
  EXPECT_EQ("",
            look_inside(
                *saved, [&] { require(read_link("/proc/self/fd/5") == new_path, "the session's terminal"); },
                [&] {
                  leave_session();
                  ::dup2(new_slave.get(), 0);
                }));
  EXPECT_THAT(look_inside(
                  *saved, [] {},
                  [&] {
                    leave_session();
                    for (int own = 0; own <= 2; ++own) ::close(own);
                  }),
              AllOf(HasSubstr("descriptor 5"), HasSubstr(path), HasSubstr("recover in a terminal")));
}

TEST(Numbers, UpToAThousandAndNothingElse) {
  auto saved = save_program([] {
    for (int number = 3; number < 1000; ++number) require_fd(::open("/dev/null", O_RDWR), "open");
    ::close(500);
  });
  EXPECT_EQ(1000, first_free_descriptor(*saved->checkpoint.process));
  EXPECT_EQ("", look_inside(*saved, [] {
              for (int number = 0; number < 1000; ++number) {
                require(is_open(number) == (number != 500), "number " + std::to_string(number));
              }
              int open_above = 0;
              for (int number = 1000; number < 1100; ++number) open_above += is_open(number) ? 1 : 0;
              require_equal(open_above, 1, "only what was to be kept is above");
            }));
}

TEST(Numbers, SoftLimitOfTheNewSessionIsNoObstacle) {
  rlimit limit{};
  ASSERT_EQ(0, ::getrlimit(RLIMIT_NOFILE, &limit));
  if (limit.rlim_max < 3000) GTEST_SKIP() << "the hard limit on open files is below 3000";
  auto saved = save_program([] {
    rlimit own{};
    ::getrlimit(RLIMIT_NOFILE, &own);
    own.rlim_cur = 3000;
    require_equal(::setrlimit(RLIMIT_NOFILE, &own), 0, "setrlimit");
    put_at(::open("/dev/null", O_RDONLY), 2500);
    put_at(::open("/dev/zero", O_RDONLY), 40);
  });
  image::ProcessT& process = *saved->checkpoint.process;
  const auto place = [&](const std::vector<int>& keep) {
    restore_descriptors(saved->checkpoint, {}, first_free_descriptor(process), keep);
  };
  pid_t pid = ::fork();
  if (pid == 0) {
    limit.rlim_cur = 100;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    place({});
    ::_exit(is_open(2500) && is_open(40) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(pid, ::waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
}

TEST(Numbers, AboveTheHardLimitAreNamedBeforeRestore) {
  auto saved = save_program([] { put_at(::open("/dev/null", O_RDONLY), 60); });
  pid_t pid = ::fork();
  if (pid == 0) {
    rlimit limit{50, 50};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    try {
      check_descriptors(saved->checkpoint);
    } catch (const Error& error) {
      ::_exit(std::string(error.what()).find("descriptor 60") != std::string::npos ? 0 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(pid, ::waitpid(pid, &status, 0));
  EXPECT_EQ(0, status);
}

TEST(Numbers, KeptDescriptorsInTheWayAreAnError) {
  auto saved = save_program([] { put_at(::open("/dev/null", O_RDONLY), 60); });
  std::array<int, 1> keep{30};
  EXPECT_THROW(restore_descriptors(saved->checkpoint, {}, 61, keep), Error);
  EXPECT_THROW(restore_descriptors(saved->checkpoint, {}, 60, {}), Error);
}

TEST(Check, NamesEveryProblemAtOnce) {
  TemporaryDirectory directory;
  std::string missing = directory.file_with("missing", "0123456789");
  std::string shorter = directory.file_with("shorter", "0123456789");
  std::string beyond = directory.file_with("beyond", "0123456789");
  std::string changed = directory.file_with("changed", "0123456789");
  auto saved = save_program([&] {
    put_at(::open(missing.c_str(), O_RDONLY), 5);
    put_at(::open(shorter.c_str(), O_RDONLY), 6);
    put_at(::open(beyond.c_str(), O_RDONLY), 7);
    put_at(::open(changed.c_str(), O_RDONLY), 8);
    ::lseek(6, 10, SEEK_SET);
    ::lseek(7, 100, SEEK_SET);
  });
  check_descriptors(saved->checkpoint);
  std::filesystem::remove(missing);
  std::filesystem::remove(changed);
  std::filesystem::create_directory(changed);
  std::filesystem::resize_file(shorter, 9);
  std::filesystem::resize_file(beyond, 5);
  try {
    check_descriptors(saved->checkpoint);
    FAIL() << "not refused";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("descriptor 5: " + missing + " is missing"),
                                    HasSubstr("descriptor 6: " + shorter + " has 9 bytes"),
                                    HasSubstr("descriptor 8: " + changed + " is no longer a regular file"),
                                    testing::Not(HasSubstr("descriptor 7")), testing::Not(HasSubstr("\n"))));
  }
}

TEST(Check, FileThatMayNotBeWrittenAnyMoreIsNamed) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everything";
  TemporaryDirectory directory;
  std::string path = directory.file_with("text", "x");
  auto saved = save_program([&] { put_at(::open(path.c_str(), O_RDWR), 5); });
  ::chmod(path.c_str(), 0400);
  EXPECT_THROW(check_descriptors(saved->checkpoint), Error);
}

TEST(Unsupported, OtherKindsAreNamed) {
  constexpr long kUserModeOnly = 1;  // UFFD_USER_MODE_ONLY
  EXPECT_THAT(refusal([] { put_at(static_cast<int>(::syscall(SYS_userfaultfd, kUserModeOnly)), 5); }),
              HasSubstr("descriptor 5 is a userfaultfd"));
  EXPECT_THAT(refusal([] { put_at(::open("/proc/self/ns/mnt", O_RDONLY), 5); }),
              HasSubstr("descriptor 5 is mnt:["));
}

}  // namespace
}  // namespace ckpt::engine
