// What a parent of the same user reaches in its child: memory, descriptors, and which of them are the same
// object.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/kcmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "base/file_io.h"
#include "base/unique_fd.h"
#include "child_support.h"

namespace ckpt::assumptions {
namespace {

constexpr std::size_t kPage = 4096;

int sleep_for_ever() {
  for (;;) pause();
}

// A page with content and the given protection, in a child that inherits it.
class ProtectedPage : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    memory_ = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memset(memory_, 'P', kPage);
    mprotect(memory_, kPage, GetParam());
    child_.emplace(sleep_for_ever);
  }
  void TearDown() override { munmap(memory_, kPage); }

  void* memory_ = nullptr;
  std::optional<Child> child_;
};

TEST_P(ProtectedPage, IsHiddenFromProcessVmReadv) {
  char byte = 0;
  iovec local{.iov_base = &byte, .iov_len = 1};
  iovec remote{.iov_base = memory_, .iov_len = 1};
  EXPECT_EQ(process_vm_readv(child_->pid(), &local, 1, &remote, 1, 0), -1);
  EXPECT_EQ(errno, EFAULT);
}

TEST_P(ProtectedPage, IsReadThroughProcMem) {
  UniqueFd memory = open_or_throw("/proc/" + std::to_string(child_->pid()) + "/mem", O_RDONLY);
  char byte = 0;
  ASSERT_EQ(pread(memory.get(), &byte, 1, reinterpret_cast<off_t>(memory_)), 1);
  EXPECT_EQ(byte, 'P');
}

INSTANTIATE_TEST_SUITE_P(Protections, ProtectedPage, testing::Values(PROT_NONE, PROT_WRITE));

TEST(MovingMappings, OldSizeZeroDuplicatesSharedAnonymousMemory) {
  auto* first =
      static_cast<char*>(mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(first, MAP_FAILED);
  auto* second = static_cast<char*>(mremap(first, 0, kPage, MREMAP_MAYMOVE));
  ASSERT_NE(second, MAP_FAILED);
  EXPECT_NE(first, second);
  first[17] = 'x';
  EXPECT_EQ(second[17], 'x');
  munmap(first, kPage);
  munmap(second, kPage);
}

// process_vm_readv pins what it reads, and since Linux 6.0 gives the process a copy of its own first.
TEST(PagesInCommonSinceFork, StaySoWhenReadThroughProcMem) {
  constexpr std::size_t kPages = 64;
  constexpr std::uint64_t kMappedOnce = 1ULL << 56;
  auto* memory = static_cast<char*>(
      mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  madvise(memory, kPages * kPage, MADV_NOHUGEPAGE);
  std::memset(memory, 'P', kPages * kPage);
  Child child(sleep_for_ever);
  std::string directory = "/proc/" + std::to_string(child.pid());
  UniqueFd mem = open_or_throw(directory + "/mem", O_RDONLY);
  UniqueFd pagemap = open_or_throw(directory + "/pagemap", O_RDONLY);
  std::array<char, kPages * kPage> read{};
  ASSERT_EQ(pread(mem.get(), read.data(), read.size(), reinterpret_cast<off_t>(memory)),
            static_cast<ssize_t>(read.size()));
  EXPECT_EQ(read.back(), 'P');
  std::array<std::uint64_t, kPages> entries{};
  ASSERT_EQ(pread(pagemap.get(), entries.data(), sizeof entries,
                  static_cast<off_t>(reinterpret_cast<std::uintptr_t>(memory) / kPage * sizeof entries[0])),
            static_cast<ssize_t>(sizeof entries));
  for (std::uint64_t entry : entries) EXPECT_EQ(entry & kMappedOnce, 0U);
  munmap(memory, kPages * kPage);
}

struct Descriptors {
  std::atomic<bool> ready{false};
  int file = -1;
  int duplicate = -1;
  int reopened = -1;
};

class DescriptorsOfChild : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(wait_until([this] { return shared_->ready.load(); }));
  }

  // 0: the same open file description; -1: refused.
  long compare(int first, int second) const {
    return syscall(SYS_kcmp, child_.pid(), child_.pid(), KCMP_FILE, first, second);
  }

  Shared<Descriptors> shared_;
  Child child_{[this] {
    shared_->file = memfd_create("file", 0);
    shared_->duplicate = dup(shared_->file);
    shared_->reopened = open(("/proc/self/fd/" + std::to_string(shared_->file)).c_str(), O_RDWR);
    lseek(shared_->file, 7, SEEK_SET);
    shared_->ready = true;
    return sleep_for_ever();
  }};
};

TEST_F(DescriptorsOfChild, AreTakenOutWithTheirSharedOffset) {
  UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, child_.pid(), 0)));
  ASSERT_TRUE(process) << errno;
  UniqueFd copy(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), shared_->file, 0)));
  ASSERT_TRUE(copy) << errno;
  EXPECT_EQ(lseek(copy.get(), 0, SEEK_CUR), 7);
}

TEST_F(DescriptorsOfChild, AreComparedByOpenFileDescription) {
  long same = compare(shared_->file, shared_->duplicate);
  if (same < 0 && errno == ENOSYS) GTEST_SKIP() << "this kernel has no kcmp";
  EXPECT_EQ(same, 0);
  EXPECT_GT(compare(shared_->file, shared_->reopened), 0);
}

TEST(Pipes, AreReadByTeeWithoutBeingEmptied) {
  std::array<int, 2> pipe_ends{};
  std::array<int, 2> copy_ends{};
  ASSERT_EQ(pipe2(pipe_ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
  ASSERT_EQ(pipe2(copy_ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
  UniqueFd pipe_read(pipe_ends[0]);
  UniqueFd pipe_write(pipe_ends[1]);
  UniqueFd copy_read(copy_ends[0]);
  UniqueFd copy_write(copy_ends[1]);
  ASSERT_EQ(write(pipe_write.get(), "bytes", 5), 5);
  EXPECT_EQ(tee(pipe_read.get(), copy_write.get(), kPage, SPLICE_F_NONBLOCK), 5);
  for (int end : {copy_read.get(), pipe_read.get()}) {
    std::array<char, 16> content{};
    EXPECT_EQ(read(end, content.data(), content.size()), 5);
    EXPECT_STREQ(content.data(), "bytes");
  }
}

}  // namespace
}  // namespace ckpt::assumptions
