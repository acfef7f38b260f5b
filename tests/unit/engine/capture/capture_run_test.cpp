// Every way to copy, against what the stopped program's memory was: the program is a forked child that
// changes its memory when it is told to.
#include "engine/capture/capture_run.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/file_io.h"
#include "ckpt/ckpt.h"
#include "engine/session.h"
#include "engine/tracee/remote_memory.h"
#include "resource/program_support.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kPages = 3000;
constexpr std::uint64_t kAddress = 0x3000'0000'0000;  // beside what sanitizers use

char* page(std::size_t index) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): both processes agree on the place
  return reinterpret_cast<char*>(kAddress) + index * kPageSize;
}

// Changes are functions in the child, chosen by index, so that the test may say what happens when.
using Change = std::function<void()>;

// Between test and program.
struct Mailbox {
  std::atomic<std::uint32_t> ordered;  // changes that the program may make
  std::atomic<std::uint32_t> done;     // one more than it has made
};

Mailbox& map_mailbox(const std::string& path) {
  UniqueFd fd = open_or_throw(path, O_RDWR | O_CREAT, 0600);
  if (::ftruncate(fd.get(), kPageSize) != 0) throw_errno("make a file");
  void* memory = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) throw_errno("map a file");
  return *static_cast<Mailbox*>(memory);
}

class CaptureRunTest : public testing::TestWithParam<CopyMode> {
 protected:
  CaptureRunTest()
      : application_(store::Store::open(directory_.file("store"), true).create_application("program")),
        mailbox_(map_mailbox(directory_.file("mailbox"))) {}
  ~CaptureRunTest() override {
    session_.reset();
    ::munmap(&mailbox_, kPageSize);
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  // The child has kPages pages with content at kAddress and carries out `changes` one after the other.
  void start(const std::vector<Change>& changes) {
    pid_ = tests::fork_child_that_ends_with_parent();
    if (pid_ == 0) {
      ::close_range(3, UINT_MAX, 0);
      be_program(changes);
    }
    wait_for_answer();
    session_.emplace(pid_);
  }

  [[noreturn]] void be_program(const std::vector<Change>& changes) {
    void* wanted = page(0);
    if (::mmap(wanted, kPages * kPageSize, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != wanted)
      ::_exit(1);
    for (std::size_t i = 0; i < kPages; ++i) std::memset(page(i), static_cast<int>(1 + i % 250), 100);
    for (std::uint32_t done = 0;; ++done) {
      mailbox_.done = done + 1;
      wake(mailbox_.done);
      while (mailbox_.ordered == done) wait(mailbox_.ordered, done);
      if (done < changes.size()) changes[done]();
    }
  }

  static void wait(std::atomic<std::uint32_t>& word, std::uint32_t value) {
    timespec second{.tv_sec = 1, .tv_nsec = 0};
    ::syscall(SYS_futex, &word, FUTEX_WAIT, value, &second, nullptr, 0);
  }
  static void wake(std::atomic<std::uint32_t>& word) {
    ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }
  void wait_for_answer() {
    for (std::uint32_t done = mailbox_.done; done <= mailbox_.ordered; done = mailbox_.done) {
      wait(mailbox_.done, done);
      ASSERT_EQ(::waitpid(pid_, nullptr, WNOHANG), 0) << "the program has ended";
    }
  }
  void next_change() {
    ++mailbox_.ordered;
    wake(mailbox_.ordered);
    wait_for_answer();
  }

  CaptureOptions options() {
    CaptureOptions options;
    options.mode = GetParam();
    options.parent = last_;
    options.while_stopped = [this](pid_t pid) {
      truth_.assign(kPages * kPageSize, std::byte{0});
      for (std::size_t i = 0; i < kPages; ++i) {
        std::span<std::byte> room = std::span(truth_).subspan(i * kPageSize, kPageSize);
        try {
          read_remote(pid, RemoteAddr{kAddress + i * kPageSize}, room);
        } catch (const Error&) {
          continue;  // nothing is mapped there
        }
      }
    };
    return options;
  }

  // Makes the next version; nothing if this process may not trace its own child.
  std::optional<store::CheckpointStats> checkpoint() {
    try {
      auto writer = application_->begin(last_, store::Base::kParent);
      CaptureResult result = session_->capture(*writer, options());
      store::VersionDescription description;
      description.run_id = "run";
      description.stats = result.stats;
      last_ = writer->commit(description, result.image);
      session_->committed(last_);
      return description.stats;
    } catch (const Error& error) {
      if (error.code() != EPERM) throw;
      return std::nullopt;
    }
  }

  void expect_truth() const {
    auto reader = application_->open(last_);
    std::vector<std::byte> found(truth_.size());
    constexpr std::uint64_t kFirst = kAddress / kPageSize;
    for (store::PageRun run : reader->runs(kProcessSpace)) {
      for (std::uint64_t at = run.first_page; at < run.first_page + run.page_count; ++at) {
        if (at < kFirst || at >= kFirst + kPages) continue;
        reader->read(kProcessSpace, {at, 1}, std::span(found).subspan((at - kFirst) * kPageSize, kPageSize));
      }
    }
    for (std::size_t i = 0; i < kPages; ++i) {
      ASSERT_EQ(std::memcmp(found.data() + i * kPageSize, truth_.data() + i * kPageSize, kPageSize), 0)
          << "page " << i << " of version " << last_;
    }
  }

  TemporaryDirectory directory_;
  std::unique_ptr<store::Application> application_;
  std::optional<Session> session_;
  store::Version last_ = 0;
  std::vector<std::byte> truth_;
  pid_t pid_ = 0;
  Mailbox& mailbox_;
};

bool refused(const std::optional<store::CheckpointStats>& stats) { return !stats.has_value(); }

#define CHECKPOINT_OR_SKIP(stats)                                    \
  std::optional<store::CheckpointStats> stats = checkpoint();        \
  if (refused(stats)) GTEST_SKIP() << "no child may be traced here"; \
  expect_truth()

TEST_P(CaptureRunTest, VersionsHoldWhatThePausesSaw) {
  auto scatter = [](char value) {
    return [value] {
      for (std::size_t i = 0; i < kPages; i += 7) page(i)[50] = value;
    };
  };
  start({scatter('a'), scatter('b')});
  CHECKPOINT_OR_SKIP(first);
  next_change();
  CHECKPOINT_OR_SKIP(second);
  EXPECT_LT(second->pages_written, kPages / 2) << "only what changed is written";
  next_change();
  CHECKPOINT_OR_SKIP(third);
}

TEST_P(CaptureRunTest, DiscardedAndMovedAndReplacedMemoryIsNoticed) {
  start({[] { ::madvise(page(100), 50 * kPageSize, MADV_DONTNEED); },
         [] {
           ::mremap(page(1000), 100 * kPageSize, 100 * kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, page(10));
         },
         [] { ::munmap(page(2000), 300 * kPageSize); },
         [] {
           (void)::mmap(page(2100), 20 * kPageSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
           page(2110)[0] = 'n';
           ::mprotect(page(500), 10 * kPageSize, PROT_NONE);
         }});
  for (int i = 0; i < 5; ++i) {
    CHECKPOINT_OR_SKIP(stats);
    if (i < 4) next_change();
  }
}

TEST_P(CaptureRunTest, ExcludedMemoryIsLeftOutUntilItIsIncludedAgain) {
  start({[] { ckpt_exclude(page(20), 30 * kPageSize); }, [] { page(25)[0] = 'x'; },
         [] { ckpt_include(page(20), 10 * kPageSize); }});
  CHECKPOINT_OR_SKIP(whole);
  auto expect_left_out = [this](std::size_t first, std::size_t count) {
    std::fill_n(truth_.begin() + static_cast<std::ptrdiff_t>(first * kPageSize), count * kPageSize,
                std::byte{0});
    expect_truth();
  };
  for (int i = 0; i < 2; ++i) {
    next_change();
    ASSERT_TRUE(checkpoint());
    expect_left_out(20, 30);
  }
  next_change();
  ASSERT_TRUE(checkpoint());
  expect_left_out(30, 20);
}

// What a failed checkpoint has armed must not be missing from the next one.
TEST_P(CaptureRunTest, NothingIsForgottenByAFailedCheckpoint) {
  start({[] { page(5)[0] = 'a'; }, [] { page(7)[0] = 'b'; }});
  CHECKPOINT_OR_SKIP(first);
  next_change();
  {
    auto writer = application_->begin(last_, store::Base::kParent);
    session_->capture(*writer, options());  // never committed
  }
  next_change();
  CHECKPOINT_OR_SKIP(second);
}

TEST_P(CaptureRunTest, AbandonedAtAnyStepTheProgramRunsOn) {
  start({[] { page(5)[0] = 'a'; }});
  std::optional<store::CheckpointStats> first = checkpoint();
  if (!first) GTEST_SKIP() << "no child may be traced here";
  for (int steps = 1; steps < 8; ++steps) {
    auto writer = application_->begin(last_, store::Base::kParent);
    auto capture = session_->begin_capture(*writer, options());
    for (int i = 0; i < steps && capture->next() != Capture::Next::kDone; ++i) capture->run();
  }
  next_change();
  CHECKPOINT_OR_SKIP(second);
}

TEST_P(CaptureRunTest, AVersionThatIsNotTheOneBeforeCanBeBuiltOn) {
  start({[] { page(5)[0] = 'a'; }, [] { page(9)[0] = 'b'; }});
  CHECKPOINT_OR_SKIP(first);
  store::Version oldest = last_;
  next_change();
  CHECKPOINT_OR_SKIP(second);
  last_ = oldest;
  next_change();
  CHECKPOINT_OR_SKIP(third);
}

TEST_P(CaptureRunTest, WithoutKernelTrackingDigestsTellWhatChanged) {
  start({[] { page(5)[0] = 'a'; }});
  for (int i = 0; i < 2; ++i) {
    auto writer = application_->begin(last_, store::Base::kParent);
    CaptureOptions compare = options();
    compare.tracking = Tracking::kCompare;
    CaptureResult result;
    try {
      result = session_->capture(*writer, compare);
    } catch (const Error& error) {
      if (error.code() == EPERM) GTEST_SKIP() << "no child may be traced here";
      throw;
    }
    store::VersionDescription description;
    description.stats = result.stats;
    last_ = writer->commit(description, result.image);
    expect_truth();
    if (i == 0) next_change();
    if (i == 1) {
      EXPECT_LT(description.stats.pages_written, 100U);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, CaptureRunTest,
                         testing::Values(CopyMode::kAuto, CopyMode::kCopy, CopyMode::kPrecopy,
                                         CopyMode::kFork),
                         [](const testing::TestParamInfo<CopyMode>& mode) {
                           switch (mode.param) {
                             case CopyMode::kAuto:
                               return "auto";
                             case CopyMode::kCopy:
                               return "copy";
                             case CopyMode::kPrecopy:
                               return "precopy";
                             case CopyMode::kFork:
                               return "fork";
                           }
                           return "none";
                         });

class SnapshotTest : public CaptureRunTest {};

TEST_P(SnapshotTest, WhereNoProcessCanBeMadeThePauseTakesItsPlace) {
  if (::geteuid() == 0) GTEST_SKIP() << "the limit on processes does not hold for root";
  start({[] {
    rlimit none{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_NPROC, &none);
  }});
  next_change();
  CHECKPOINT_OR_SKIP(stats);
  EXPECT_EQ(stats->mode, "copy");
}

TEST_P(SnapshotTest, IsInvisibleToTheProgramsWait) {
  start({[] {
    int status = 0;
    if (::waitpid(-1, &status, WNOHANG) != -1 || errno != ECHILD) ::_exit(1);
  }});
  auto writer = application_->begin(0, store::Base::kParent);
  auto capture = session_->begin_capture(*writer, options());
  try {
    while (capture->next() != Capture::Next::kBackground || session_->pid() == 0) capture->run();
    capture->run();  // survey
    while (capture->next() == Capture::Next::kForeground) capture->run();
  } catch (const Error& error) {
    if (error.code() == EPERM) GTEST_SKIP() << "no child may be traced here";
    throw;
  }
  next_change();  // while the snapshot lives
}

TEST_P(SnapshotTest, KilledMeanwhileTheCheckpointFailsAndTheNextOneIsComplete) {
  start({[] { page(3)[0] = 'x'; }});
  CHECKPOINT_OR_SKIP(first);
  {
    auto writer = application_->begin(last_, store::Base::kParent);
    auto capture = session_->begin_capture(*writer, options());
    capture->run();  // survey
    capture->run();  // stop
    ASSERT_EQ(capture->next(), Capture::Next::kBackground);
    std::string children;
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/task/%d/children", pid_, pid_);
    int fd = ::open(path, O_RDONLY);
    char text[64]{};
    ASSERT_GT(::read(fd, text, sizeof text - 1), 0);
    ::close(fd);
    ::kill(std::atoi(text), SIGKILL);
    while (::kill(std::atoi(text), 0) == 0) {
      std::snprintf(path, sizeof path, "/proc/%d/maps", std::atoi(text));
      int maps = ::open(path, O_RDONLY);
      bool gone = maps < 0 || ::read(maps, text + 32, 1) <= 0;
      ::close(maps);
      if (gone) break;
    }
    EXPECT_THROW(capture->run(), Error);
  }
  next_change();
  CHECKPOINT_OR_SKIP(second);
}

INSTANTIATE_TEST_SUITE_P(Fork, SnapshotTest, testing::Values(CopyMode::kFork),
                         [](const testing::TestParamInfo<CopyMode>&) { return "fork"; });

}  // namespace
}  // namespace ckpt::engine
