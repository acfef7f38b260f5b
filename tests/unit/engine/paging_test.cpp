// A program whose memory is kept within a limit (Session::limit_memory): a forked child of the test that has
// one range of memory and does to it what it is asked for.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <thread>

#include "base/error.h"
#include "base/kernel_abi.h"
#include "base/remote_addr.h"
#include "engine/session.h"
#include "resource/program_support.h"
#include "support/child_with_parent.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kProgramPages = 1024;
constexpr std::uint64_t kGuarded = 64;    // the first of them
constexpr int kMadviseGuardRemove = 103;  // Linux 6.13

enum Request : std::uint32_t { kNothing, kGuard, kUnguard, kFork, kCheck };

struct RequestBox {
  std::atomic<std::uint32_t> request;  // kNothing: answered
  std::atomic<std::uint64_t> answer;   // of kCheck: pages that are not as they were; of the others: errno
  std::byte* memory;
};

std::uint64_t* word_of(std::byte* memory, std::uint64_t page) {
  return reinterpret_cast<std::uint64_t*>(memory + page * kPageSize);
}

std::uint64_t advise(std::byte* memory, int advice) {
  return ::madvise(memory, kGuarded * kPageSize, advice) == 0 ? 0 : static_cast<std::uint64_t>(errno);
}

// A child that does nothing.
std::uint64_t fork_child() {
  pid_t child = tests::fork_child_that_ends_with_parent();
  if (child == 0) {
    for (;;) ::pause();
  }
  return child > 0 ? 0 : static_cast<std::uint64_t>(errno);
}

std::uint64_t count_wrong(std::byte* memory) {
  std::uint64_t wrong = 0;
  for (std::uint64_t page = kGuarded; page < kProgramPages; ++page)
    wrong += *word_of(memory, page) != page ? 1 : 0;
  return wrong;
}

[[noreturn]] void answer_requests(RequestBox& box) {
  void* mapped =
      ::mmap(nullptr, kProgramPages * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) ::_exit(1);
  auto* memory = static_cast<std::byte*>(mapped);
  ::madvise(memory, kProgramPages * kPageSize, MADV_NOHUGEPAGE);
  box.memory = memory;
  for (std::uint64_t page = 0; page < kProgramPages; ++page) *word_of(memory, page) = page;
  box.request = kNothing;
  for (;;) {
    while (box.request == kNothing) ::usleep(200);
    if (box.request == kGuard) box.answer = advise(memory, kernel::kMadviseGuardInstall);
    if (box.request == kUnguard) box.answer = advise(memory, kMadviseGuardRemove);
    if (box.request == kFork) box.answer = fork_child();
    if (box.request == kCheck) box.answer = count_wrong(memory);
    box.request = kNothing;
  }
}

class PagingTest : public testing::Test {
 protected:
  PagingTest()
      : application_(store::Store::open(directory_.file("store"), true).create_application("program")) {
    void* shared = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) throw_errno("map memory");
    box_ = new (shared) RequestBox{.request = kCheck, .answer = 0, .memory = nullptr};
  }
  ~PagingTest() override {
    session_.reset();
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::munmap(box_, kPageSize);
  }

  // False if a limit is not permitted here.
  bool start() {
    try {
      Session::require_limits();
    } catch (const Error&) {
      return false;
    }
    pid_ = tests::fork_child_that_ends_with_parent();
    if (pid_ < 0) throw_errno("fork");
    if (pid_ == 0) {
      ::close_range(3, UINT_MAX, 0);
      answer_requests(*box_);
    }
    wait_for_answer();
    session_.emplace(pid_);
    session_->limit_memory();
    return true;
  }

  void wait_for_answer() const {
    while (box_->request != kNothing) {
      if (::waitpid(pid_, nullptr, WNOHANG) != 0) throw Error("the program has ended");
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }
  std::uint64_t ask(Request request) const {
    box_->request = request;
    wait_for_answer();
    return box_->answer;
  }

  // `between`: called between its steps, while the program runs.
  void checkpoint(const std::function<void()>& between = {}) {
    auto writer = application_->begin(last_, last_ == 0 ? store::Base::kEmpty : store::Base::kParent);
    std::unique_ptr<Capture> capture = session_->begin_capture(*writer, {.parent = last_});
    while (capture->next() != Capture::Next::kDone) {
      capture->run();
      if (between) between();
    }
    CaptureResult result = capture->take_result();
    store::VersionDescription description;
    description.run_id = "run";
    last_ = writer->commit(description, result.image);
    session_->serve_from(application_->open(last_));
    session_->committed(last_);
  }

  std::uint64_t evict_all() { return session_->evict(~std::uint64_t{0} / 2); }

  TemporaryDirectory directory_;
  std::unique_ptr<store::Application> application_;
  RequestBox* box_;
  std::optional<Session> session_;
  store::Version last_ = 0;
  pid_t pid_ = 0;
};

#define START_OR_SKIP() \
  if (!start()) GTEST_SKIP() << "a limit of memory is not permitted here"

TEST_F(PagingTest, WhatWasDiscardedComesBack) {
  START_OR_SKIP();
  checkpoint();
  ASSERT_GE(evict_all(), kProgramPages * kPageSize);
  checkpoint();
  EXPECT_EQ(ask(kCheck), 0U);
}

TEST_F(PagingTest, WhatBecameAGuardRegionIsMissedByNoChildEither) {
  START_OR_SKIP();
  checkpoint();
  ASSERT_GE(evict_all(), kProgramPages * kPageSize);
  if (ask(kGuard) == EINVAL) GTEST_SKIP() << "guard regions need Linux 6.13";
  checkpoint([this] { ASSERT_EQ(ask(kFork), 0U); });
  checkpoint();
  EXPECT_EQ(ask(kUnguard), 0U);
  evict_all();
  checkpoint();
  EXPECT_EQ(ask(kCheck), 0U);
}

// A debugger, say, or whoever looks at command lines.
TEST_F(PagingTest, WhoReadsTheMemoryMeanwhileFindsIt) {
  START_OR_SKIP();
  std::atomic<std::uint64_t> wrong = 0;
  std::jthread reader([&](const std::stop_token& stop) {
    for (std::uint64_t page = 1; !stop.stop_requested(); page = page % (kProgramPages - 1) + 1) {
      std::uint64_t word = page;
      iovec local{&word, sizeof(word)};
      iovec remote{word_of(box_->memory, page), sizeof(word)};
      if (::process_vm_readv(pid_, &local, 1, &remote, 1, 0) == sizeof(word) && word != page) ++wrong;
    }
  });
  for (int i = 0; i < 20; ++i) {
    checkpoint();
    evict_all();
  }
  reader.request_stop();
  reader.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(ask(kCheck), 0U);
}

}  // namespace
}  // namespace ckpt::engine
