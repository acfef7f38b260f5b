// Checkpoint and restore from end to end, in one process: the program is a forked child of the test.
#include "engine/session.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/image/image_file.h"
#include "resource/program_support.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {
namespace {

using testing::HasSubstr;

constexpr std::size_t kNumbers = 50'000;

// Between test and program, in a file that both have mapped.
struct Mailbox {
  std::atomic<std::uint32_t> request;
  std::atomic<std::uint32_t> answered;  // the last request that was answered
  std::atomic<std::uint64_t> answer;    // how many requests the program knows of
  std::atomic<std::uint64_t> sum;       // of its private memory
};

void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t value, const timespec* timeout) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, value, timeout, nullptr, 0);
}

void store_and_wake(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  word = value;
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

// Its state is on its stack and in its heap; all that it does is to count the requests.
[[noreturn]] void be_program(Mailbox& mailbox) {
  std::vector<std::uint64_t> numbers(kNumbers);
  std::iota(numbers.begin(), numbers.end(), 1);
  std::uint64_t count = 0;
  for (std::uint32_t seen = 0;;) {
    while (mailbox.request == seen) wait_while(mailbox.request, seen, nullptr);
    seen = mailbox.request;
    numbers[count % kNumbers] += 1;
    mailbox.sum = std::accumulate(numbers.begin(), numbers.end(), std::uint64_t{0});
    mailbox.answer = ++count;
    store_and_wake(mailbox.answered, seen);
  }
}

constexpr std::uint64_t sum_after(std::uint64_t requests) { return kNumbers * (kNumbers + 1) / 2 + requests; }

Mailbox& map_mailbox(const std::string& path) {
  UniqueFd fd = open_or_throw(path, O_RDWR | O_CREAT, 0600);
  if (::ftruncate(fd.get(), 4096) != 0) throw_errno("make a file");
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) throw_errno("map a file");
  return *static_cast<Mailbox*>(memory);
}

bool is_gone(pid_t pid) { return ::kill(pid, 0) != 0 && errno == ESRCH; }

class SessionTest : public testing::Test {
 protected:
  SessionTest()
      : mailbox_(map_mailbox(directory_.file("mailbox"))),
        application_(store::Store::open(directory_.file("store"), true).create_application("program")) {}
  ~SessionTest() override {
    end();
    ::munmap(&mailbox_, 4096);
  }

  // `before` runs in the program first.
  void start(const std::function<void()>& before = {}) {
    pid_ = tests::fork_child_that_ends_with_parent();
    if (pid_ < 0) throw_errno("fork");
    if (pid_ == 0) {
      ::close_range(3, UINT_MAX, 0);
      if (before) before();
      be_program(mailbox_);
    }
    session_.emplace(pid_);
  }

  void end() {
    session_.reset();
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    if (namespace_init_ > 0) ::waitpid(namespace_init_, nullptr, 0);
    pid_ = namespace_init_ = 0;
  }

  void post_request() { store_and_wake(mailbox_.request, mailbox_.request + 1); }

  // What the program answers to the request posted last; 0 if it does not.
  std::uint64_t answer() {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (std::uint32_t last = mailbox_.answered; last != mailbox_.request; last = mailbox_.answered) {
      if (std::chrono::steady_clock::now() > deadline) return 0;
      timespec second{.tv_sec = 1, .tv_nsec = 0};
      wait_while(mailbox_.answered, last, &second);
    }
    EXPECT_EQ(mailbox_.sum, sum_after(mailbox_.answer)) << "private memory is not what it was";
    return mailbox_.answer;
  }
  std::uint64_t ask() {
    post_request();
    return answer();
  }

  // Nothing if this process may not trace its own child.
  std::optional<store::Version> checkpoint(store::Version parent = 0,
                                           AfterCapture after = AfterCapture::kResume) {
    try {
      std::unique_ptr<store::CheckpointWriter> writer = application_->begin(parent, store::Base::kEmpty);
      CaptureResult result = session_->capture(*writer, {.after = after});
      EXPECT_EQ(result.thread_count, 1U);
      store::VersionDescription description;
      description.run_id = "run";
      description.stats = result.stats;
      store::Version version = writer->commit(description, result.image);
      requests_[version] = mailbox_.request;
      return version;
    } catch (const Error& error) {
      if (error.code() != EPERM) throw;
      return std::nullopt;
    }
  }

  void bring_back(store::Version version, const RestoreOptions& options = {}) {
    // Files keep their content, so that the program would find the requests since the checkpoint.
    mailbox_.request = requests_.at(version);
    mailbox_.answered = requests_.at(version);
    Restored restored = restore(application_->open(version), options);
    session_.emplace(std::move(restored.session));
    pid_ = session_->pid();
    namespace_init_ = restored.namespace_init;
  }

  // A version like this one, as another machine would have made it.
  store::Version altered(store::Version version, const std::function<void(image::HostT&)>& alter) {
    std::unique_ptr<store::CheckpointReader> reader = application_->open(version);
    std::unique_ptr<image::CheckpointT> checkpoint = unpack_image(reader->image());
    alter(*checkpoint->host);
    std::unique_ptr<store::CheckpointWriter> writer = application_->begin(version, store::Base::kParent);
    store::VersionDescription description = reader->description();
    store::Version made = writer->commit(description, pack_image(*checkpoint));
    requests_[made] = requests_.at(version);
    return made;
  }

  std::string refusal_of(store::Version version, const RestoreOptions& options = {}) {
    try {
      bring_back(version, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "brought back";
  }

  TemporaryDirectory directory_;
  Mailbox& mailbox_;
  std::unique_ptr<store::Application> application_;
  std::optional<Session> session_;
  std::map<store::Version, std::uint32_t> requests_;  // posted before the checkpoint
  pid_t pid_ = 0;
  pid_t namespace_init_ = 0;
};

#define CHECKPOINT_OR_SKIP(version, ...)                           \
  std::optional<store::Version> version = checkpoint(__VA_ARGS__); \
  if (!version) GTEST_SKIP() << "no child may be traced here"

TEST_F(SessionTest, RestoredProgramGoesOnFromTheCheckpoint) {
  start();
  ASSERT_EQ(ask(), 1U);
  ASSERT_EQ(ask(), 2U);
  CHECKPOINT_OR_SKIP(version);
  ASSERT_EQ(ask(), 3U);
  end();
  bring_back(*version);
  EXPECT_EQ(ask(), 3U) << "the third request came after the checkpoint";
  EXPECT_EQ(ask(), 4U);
}

TEST_F(SessionTest, RestoredProgramCanBeCapturedAgain) {
  start();
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(first);
  end();
  bring_back(*first);
  ASSERT_EQ(ask(), 2U);
  CHECKPOINT_OR_SKIP(second, *first);
  end();
  bring_back(*second);
  EXPECT_EQ(ask(), 3U);
  end();
  bring_back(*first);
  EXPECT_EQ(ask(), 2U) << "the first version is still what it was";
}

TEST_F(SessionTest, ProgramRunsOnAfterACheckpoint) {
  start();
  for (std::uint64_t i = 1; i <= 5; ++i) {
    ASSERT_EQ(ask(), i);
    CHECKPOINT_OR_SKIP(version);
  }
}

TEST_F(SessionTest, HeldProgramDoesNothingUntilItIsReleased) {
  start();
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version, 0, AfterCapture::kHold);
  std::uint32_t before = mailbox_.answered;
  post_request();
  std::string status = read_file("/proc/" + std::to_string(pid_) + "/status");
  EXPECT_THAT(status, HasSubstr("State:\tt (tracing stop)"));
  EXPECT_EQ(mailbox_.answered, before);
  session_->release_held();
  EXPECT_EQ(answer(), 2U);
}

TEST_F(SessionTest, HeldProgramCanBeEndedAndBroughtBack) {
  start();
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version, 0, AfterCapture::kHold);
  session_->end_held();
  int status = 0;
  ASSERT_EQ(::waitpid(pid_, &status, 0), pid_);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  pid_ = 0;
  bring_back(*version);
  EXPECT_EQ(ask(), 2U);
}

TEST_F(SessionTest, ProgramThatCannotBeSavedRunsOn) {
  start([this] {
    std::string gone = directory_.file("gone");
    if (::mkdir(gone.c_str(), 0700) != 0 || ::chdir(gone.c_str()) != 0 || ::rmdir(gone.c_str()) != 0)
      ::_exit(1);
  });
  ASSERT_EQ(ask(), 1U);
  try {
    CHECKPOINT_OR_SKIP(version);
    FAIL() << "a program without a working directory was saved";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("working directory"));
  }
  EXPECT_EQ(ask(), 2U);
  EXPECT_TRUE(application_->versions().empty());
}

TEST_F(SessionTest, FailedRestoreLeavesNothingBehind) {
  start();
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version);
  end();
  pid_t built = 0;
  RestoreOptions options;
  options.before_release = [&built](pid_t pid) {
    built = pid;
    throw Error("not this time");
  };
  EXPECT_THROW(bring_back(*version, options), Error);
  ASSERT_GT(built, 0);
  EXPECT_TRUE(is_gone(built));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  EXPECT_EQ(errno, ECHILD);
  bring_back(*version);
  EXPECT_EQ(ask(), 2U) << "the checkpoint is untouched";
}

TEST_F(SessionTest, RestoreRefusesAMappedFileThatChanged) {
  std::string path = directory_.file_with("library", std::string(4096, 'x'));
  start([&path] {
    int fd = ::open(path.c_str(), O_RDONLY);
    if (::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED) ::_exit(1);
    ::close(fd);
  });
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version);
  end();
  directory_.file_with("library", std::string(8192, 'x'));
  try {
    bring_back(*version);
    FAIL() << "restored with another file";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path + " has changed"));
  }
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
}

TEST_F(SessionTest, CheckpointOfAnotherProcessorIsRefusedUnlessForced) {
  start();
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version);
  end();
  store::Version other = altered(*version, [](image::HostT& host) {
    EXPECT_FALSE(host.instruction_sets.empty());
    host.instruction_sets.emplace_back("zz_not_there");
  });
  EXPECT_THAT(refusal_of(other), HasSubstr("lacks zz_not_there"));
  std::vector<std::string> notes;
  RestoreOptions forced;
  forced.notes = &notes;
  forced.force_cpu = true;
  bring_back(other, forced);
  EXPECT_THAT(notes, testing::Contains(HasSubstr("lacks zz_not_there")));
  EXPECT_EQ(ask(), 2U);
}

TEST_F(SessionTest, CheckpointOfAnotherKernelNeedsItsVdso) {
  start();
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version);
  end();
  store::Version without = altered(*version, [](image::HostT& host) {
    host.vdso_digest_low ^= 1;
    host.kernel = "another kernel";
    host.vdso.clear();
  });
  EXPECT_THAT(refusal_of(without),
              testing::AllOf(HasSubstr("another kernel"), HasSubstr("does not hold its vDSO")));
  store::Version with = altered(*version, [](image::HostT& host) { host.vdso_digest_low ^= 1; });
  bring_back(with);
  EXPECT_EQ(ask(), 2U);
}

TEST_F(SessionTest, RestoredProgramHasItsFilesElsewhere) {
  std::string content(4096, 'x');
  std::string path = directory_.file_with("library", content);
  start([&path] {
    int fd = ::open(path.c_str(), O_RDONLY);
    if (::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED) ::_exit(1);
  });
  ASSERT_EQ(ask(), 1U);
  CHECKPOINT_OR_SKIP(version);
  end();
  std::string moved = directory_.file("elsewhere");
  std::filesystem::rename(path, moved);
  EXPECT_THAT(refusal_of(*version), HasSubstr(path + " cannot be found"));
  std::vector<std::string> notes;
  RestoreOptions options;
  options.notes = &notes;
  options.paths = {{path, moved}, {"/no/such/place", "/other"}};
  bring_back(*version, options);
  EXPECT_THAT(notes, testing::Contains(HasSubstr("/no/such/place")));
  EXPECT_EQ(ask(), 2U);
  EXPECT_THAT(read_file("/proc/" + std::to_string(pid_) + "/maps"), HasSubstr(moved));
}

}  // namespace
}  // namespace ckpt::engine
