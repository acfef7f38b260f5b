// What userfaultfd in WP_ASYNC mode and PAGEMAP_SCAN (Linux 6.7) tell about written pages, and when they do
// not.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/unique_fd.h"
#include "child_support.h"

namespace ckpt::assumptions {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 8;
constexpr std::uint64_t kArm = kernel::kScanWriteProtectMatching;
constexpr std::uint64_t kCheck = kernel::kScanCheckWriteProtectAsync;

struct Scan {
  int error = 0;
  std::vector<std::size_t> written;  // indexes of pages with content
  std::vector<std::size_t> content;
};

class WriteTracking : public testing::Test {
 protected:
  void SetUp() override {
    userfault_.reset(
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
    uffdio_api api{
        .api = UFFD_API,
        .features = kernel::kUserfaultWriteProtectAsync | kernel::kUserfaultWriteProtectUnpopulated,
        .ioctls = 0};
    if (!userfault_ || ioctl(userfault_.get(), UFFDIO_API, &api) != 0)
      GTEST_SKIP() << "this kernel cannot track writes";
    pagemap_ = open_or_throw("/proc/self/pagemap", O_RDONLY);
    file_ = UniqueFd(memfd_create("pages", MFD_CLOEXEC));
    ASSERT_EQ(ftruncate(file_.get(), kPages * kPage), 0);
  }

  static char* map(int flags, int fd = -1, void* at = nullptr) {
    void* memory = mmap(at, kPages * kPage, PROT_READ | PROT_WRITE, flags, fd, 0);
    EXPECT_NE(memory, MAP_FAILED);
    madvise(memory, kPages * kPage, MADV_NOHUGEPAGE);
    return static_cast<char*>(memory);
  }
  static char* map_filled(int flags = MAP_PRIVATE | MAP_ANONYMOUS, int fd = -1) {
    char* memory = map(flags, fd);
    for (std::size_t i = 0; i < kPages; ++i) memory[i * kPage] = 'a';
    return memory;
  }
  void track(char* memory, std::size_t pages = kPages) const {
    uffdio_register request{};
    request.range = {.start = reinterpret_cast<std::uintptr_t>(memory), .len = pages * kPage};
    request.mode = UFFDIO_REGISTER_MODE_WP;
    ASSERT_EQ(ioctl(userfault_.get(), UFFDIO_REGISTER, &request), 0) << strerrorname_np(errno);
  }
  Scan scan(const char* memory, std::uint64_t flags, int pagemap = -1) const {
    std::array<kernel::PageRegion, 64> regions{};
    kernel::PagemapScanArguments arguments{};
    arguments.size = sizeof arguments;
    arguments.flags = flags;
    arguments.start = reinterpret_cast<std::uintptr_t>(memory);
    arguments.end = arguments.start + kPages * kPage;
    arguments.vec = reinterpret_cast<std::uintptr_t>(regions.data());
    arguments.vec_len = regions.size();
    arguments.category_anyof_mask = kernel::kPageIsPresent | kernel::kPageIsSwapped;
    arguments.return_mask = arguments.category_anyof_mask | kernel::kPageIsWritten;
    int count = ioctl(pagemap >= 0 ? pagemap : pagemap_.get(), kernel::kPagemapScan, &arguments);
    Scan found;
    if (count < 0) found.error = errno;
    for (int i = 0; i < count; ++i) {
      const kernel::PageRegion& region = regions[static_cast<std::size_t>(i)];
      for (std::uint64_t at = region.start; at < region.end; at += kPage) {
        std::size_t page = (at - reinterpret_cast<std::uintptr_t>(memory)) / kPage;
        found.content.push_back(page);
        if ((region.categories & kernel::kPageIsWritten) != 0) found.written.push_back(page);
      }
    }
    return found;
  }

  UniqueFd userfault_;
  UniqueFd pagemap_;
  UniqueFd file_;
};

TEST_F(WriteTracking, TellsWhatWasWrittenSinceItWasArmed) {
  char* memory = map_filled();
  track(memory);
  EXPECT_EQ(scan(memory, kArm | kCheck).written.size(), kPages) << "what was never armed counts as written";
  EXPECT_THAT(scan(memory, kCheck).written, IsEmpty());
  memory[2 * kPage] = 'x';
  volatile char read = memory[3 * kPage];
  static_cast<void>(read);
  EXPECT_THAT(scan(memory, kArm | kCheck).written, ElementsAre(2));
  EXPECT_THAT(scan(memory, kCheck).written, IsEmpty());
}

TEST_F(WriteTracking, SeesWhatTheKernelWritesForTheProgram) {
  char* memory = map_filled();
  track(memory);
  scan(memory, kArm | kCheck);
  ASSERT_EQ(pread(file_.get(), memory + 5 * kPage, 10, 0), 10) << "user-mode-only does not matter here";
  EXPECT_THAT(scan(memory, kCheck).written, ElementsAre(5));
}

TEST_F(WriteTracking, UnregisteredMemoryIsRefusedOrSkipped) {
  char* memory = map_filled();
  EXPECT_EQ(scan(memory, kCheck).error, EPERM);
  EXPECT_EQ(scan(memory, kCheck | kArm).error, EPERM);
  EXPECT_THAT(scan(memory, kArm).content, IsEmpty());
  EXPECT_EQ(scan(memory, 0).written.size(), kPages);
}

TEST_F(WriteTracking, ArmsTheBeginningBeforeItRefusesTheRest) {
  char* memory = map_filled();
  track(memory, kPages / 2);
  EXPECT_EQ(scan(memory, kCheck | kArm).error, EPERM);
  EXPECT_EQ(scan(memory, 0).written.size(), kPages / 2) << "armed without being reported";
}

TEST_F(WriteTracking, DiscardedAnonymousPagesAreGone) {
  char* memory = map_filled();
  track(memory);
  scan(memory, kArm | kCheck);
  madvise(memory + kPage, kPage, MADV_DONTNEED);
  EXPECT_THAT(scan(memory, kCheck).content, ElementsAre(0, 2, 3, 4, 5, 6, 7));
  memory[kPage] = 'y';
  EXPECT_THAT(scan(memory, kCheck).written, ElementsAre(1));
}

TEST_F(WriteTracking, DiscardedPagesOfAnArmedFileMappingLookSwappedOutAndUnwritten) {
  char* memory = map_filled(MAP_PRIVATE, file_.get());
  track(memory);
  scan(memory, kArm | kCheck);
  madvise(memory + kPage, kPage, MADV_DONTNEED);
  Scan found = scan(memory, kCheck);
  EXPECT_EQ(found.content.size(), kPages);
  EXPECT_THAT(found.written, IsEmpty());
  EXPECT_EQ(memory[kPage], 0) << "it reads as the file does";
}

TEST_F(WriteTracking, RegistrationsDoNotMoveAndAreNotInherited) {
  char* memory = map_filled();
  track(memory);
  scan(memory, kArm | kCheck);
  void* moved = mremap(memory, kPages * kPage, kPages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                       map(MAP_PRIVATE | MAP_ANONYMOUS));
  ASSERT_NE(moved, MAP_FAILED);
  EXPECT_EQ(scan(static_cast<char*>(moved), kCheck).error, EPERM);

  char* inherited = map_filled();
  track(inherited);
  scan(inherited, kArm | kCheck);
  Child child([] {
    for (;;) pause();
    return 0;
  });
  UniqueFd pagemap = open_or_throw("/proc/" + std::to_string(child.pid()) + "/pagemap", O_RDONLY);
  EXPECT_EQ(scan(inherited, kCheck, pagemap.get()).error, EPERM);
  EXPECT_THAT(scan(inherited, kCheck).written, IsEmpty()) << "fork is no write";
}

TEST_F(WriteTracking, ClosingEndsIt) {
  char* memory = map_filled();
  track(memory);
  scan(memory, kArm | kCheck);
  userfault_.reset();
  EXPECT_EQ(scan(memory, kCheck).error, EPERM);
  memory[0] = 'z';
  EXPECT_EQ(memory[0], 'z');
}

TEST(SnapshotByClone, IsNotSeenByWaitUnlessAskedFor) {
  auto pid = static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES, 0, 0, 0, 0));  // exit signal 0
  if (pid == 0) {
    for (;;) pause();
  }
  ASSERT_GT(pid, 0);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  kill(pid, SIGKILL);
  EXPECT_EQ(waitpid(pid, nullptr, __WALL), pid);
}

}  // namespace
}  // namespace ckpt::assumptions
