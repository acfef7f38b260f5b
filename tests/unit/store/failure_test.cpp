// Failing system calls: the version fails with a clear message, the one before stays the latest, nothing is
// left behind.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "store/system_calls.h"
#include "store/transfer.h"
#include "store_fixture.h"
#include "support/temporary_directory.h"

namespace ckpt::store {
namespace {

// Counts down over all calls that are made to fail; the call that reaches zero fails with `code`. The store's
// own threads make such calls too.
struct Fault {
  int calls_left = -1;
  int code = ENOSPC;
  int met = 0;

  bool hits() {
    static std::mutex mutex;
    std::lock_guard lock(mutex);
    ++met;
    if (calls_left != 0) {
      if (calls_left > 0) --calls_left;
      return false;
    }
    calls_left = -1;
    errno = code;
    return true;
  }
};

Fault fault;

template <auto Member, typename Function>
struct Failing;

template <auto Member, typename Result, typename... Arguments>
struct Failing<Member, Result (*)(Arguments...)> {
  static Result call(Arguments... arguments) {
    return fault.hits() ? Result{-1} : (kRealCalls.*Member)(arguments...);
  }
};

template <auto Member>
void make_fail() {
  using Function = std::remove_cvref_t<decltype(kRealCalls.*Member)>;
  system_calls().*Member = &Failing<Member, Function>::call;
}

class Failure : public StoreTest {
 protected:
  Failure() : StoreTest(tests::fast_directory()) {
    fault = {};
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t i = 0; i < 20; ++i) writer->put(0, i * 100, page_of(i + 1));
    commit(*writer);
    before_ = content(1);
  }
  ~Failure() override { system_calls() = kRealCalls; }

  void write_second_version() {
    auto writer = application_->begin(1, Base::kParent);
    // More than one buffer, so that put itself writes.
    for (std::uint64_t i = 0; i < 1500; ++i) writer->put(0, i, page_of(i + 1000));
    commit(*writer);
  }

  void expect_only_first_version() {
    system_calls() = kRealCalls;
    EXPECT_EQ(versions(), std::vector<Version>{1});
    EXPECT_EQ(files(), std::vector<std::string>{"v0000000001.ckpt"});
    EXPECT_EQ(content(1), before_);
    write_second_version();
    EXPECT_EQ(versions().size(), 2U);
  }

  Model before_;
};

TEST_F(Failure, full_disk_while_putting_is_reported_as_full_store) {
  make_fail<&SystemCalls::pwrite>();
  fault.calls_left = 0;
  std::string message = error_of([&] { write_second_version(); });
  EXPECT_EQ(message.find("store is full: write " + path_of(".tmp-v0000000002")), 0U) << message;
  EXPECT_NE(message.find("; free space"), std::string::npos) << message;
  expect_only_first_version();
}

TEST_F(Failure, writer_is_dead_after_a_failed_write) {
  make_fail<&SystemCalls::pwrite>();
  auto writer = application_->begin(1, Base::kParent);
  fault.calls_left = 0;
  std::vector<std::byte> bytes;
  // More than all buffers hold: one of them has to be written before put returns.
  for (std::uint64_t i = 0; i < 6000; ++i) {
    Page page = page_of(i + 7000);
    bytes.insert(bytes.end(), page.begin(), page.end());
  }
  EXPECT_THROW(writer->put(0, 0, bytes), Error);
  EXPECT_EQ(files(), std::vector<std::string>{"v0000000001.ckpt"});
  EXPECT_THROW(writer->put(0, 0, page_of(1)), Error);
  EXPECT_THROW(writer->drop(0, {.first_page = 0, .page_count = 1}), Error);
  EXPECT_THROW(commit(*writer), Error);
  writer.reset();
  expect_only_first_version();
}

TEST_F(Failure, a_write_that_fails_later_fails_a_put_or_the_commit) {
  make_fail<&SystemCalls::pwrite>();
  for (int nth = 0; nth < 3; ++nth) {
    auto writer = application_->begin(1, Base::kParent);
    fault.calls_left = nth;
    std::string message = error_of([&] {
      for (std::uint64_t i = 0; i < 2100; ++i) writer->put(1, i, page_of(i + 1));
      commit(*writer);
    });
    EXPECT_EQ(message.find("store is full: write "), 0U) << message;
    EXPECT_THROW(writer->put(0, 0, page_of(1)), Error);
    EXPECT_EQ(files(), std::vector<std::string>{"v0000000001.ckpt"});
  }
  expect_only_first_version();
}

TEST_F(Failure, a_writer_that_is_given_up_leaves_nothing) {
  {
    auto writer = application_->begin(1, Base::kParent);
    for (std::uint64_t i = 0; i < 4000; ++i) writer->put(1, i, page_of(i + 1));
  }
  expect_only_first_version();
}

// Which priorities the store's own threads were given.
struct Priorities {
  std::mutex mutex;
  std::vector<int> policies;
  std::vector<int> io;
};

Priorities priorities;

TEST_F(Failure, threads_of_a_version_yield_to_the_program_until_it_is_late) {
  system_calls().sched_setscheduler = [](pid_t thread, int policy, const sched_param* parameters) {
    std::lock_guard lock(priorities.mutex);
    EXPECT_NE(thread, getpid()) << "the caller's own thread is none of the store's business";
    priorities.policies.push_back(policy);
    return kRealCalls.sched_setscheduler(thread, policy, parameters);
  };
  system_calls().ioprio_set = [](pid_t thread, int priority) {
    std::lock_guard lock(priorities.mutex);
    priorities.io.push_back(priority);
    return kRealCalls.ioprio_set(thread, priority);
  };
  auto writer = application_->begin(1, Base::kParent);
  for (std::uint64_t i = 0; i < 6000; ++i) writer->put(1, i, page_of(i + 1));
  EXPECT_EQ(priorities.policies, std::vector<int>{SCHED_BATCH});
  std::thread([&] { writer->hurry(); }).join();
  writer->hurry();
  EXPECT_EQ(priorities.policies, (std::vector<int>{SCHED_BATCH, SCHED_OTHER}));
  EXPECT_EQ(priorities.io, (std::vector<int>{2 << 13 | 7, 0}));
  commit(*writer);
  writer->hurry();
  EXPECT_EQ(content(2).at(1).size(), 6000U);
}

TEST_F(Failure, failed_sync_is_not_retried) {
  make_fail<&SystemCalls::fdatasync>();
  fault = {.calls_left = 0, .code = EIO};
  EXPECT_NE(error_of([&] { write_second_version(); }).find("EIO"), std::string::npos);
  EXPECT_EQ(fault.met, 1);
  expect_only_first_version();
}

TEST_F(Failure, failed_close_fails_the_version) {
  make_fail<&SystemCalls::close>();
  fault = {.calls_left = 0, .code = EDQUOT};
  EXPECT_EQ(error_of([&] { write_second_version(); }).find("store is full: close"), 0U);
  expect_only_first_version();
}

TEST_F(Failure, failed_rename_fails_the_version) {
  make_fail<&SystemCalls::renameat>();
  fault = {.calls_left = 0, .code = EROFS};
  EXPECT_EQ(error_of([&] { write_second_version(); }).find("store is not writable: rename"), 0U);
  expect_only_first_version();
}

TEST_F(Failure, failed_sync_of_the_directory_takes_the_version_back) {
  make_fail<&SystemCalls::fsync>();
  fault = {.calls_left = 0, .code = EIO};
  EXPECT_NE(error_of([&] { write_second_version(); }).find("fsync directory"), std::string::npos);
  EXPECT_EQ(fault.met, 1);
  expect_only_first_version();
}

TEST_F(Failure, interrupted_and_short_writes_are_continued) {
  static int calls = 0;
  calls = 0;
  system_calls().pwrite = [](int fd, const void* bytes, std::size_t size, off_t offset) -> ssize_t {
    if (++calls % 2 == 1) {
      errno = EINTR;
      return -1;
    }
    return kRealCalls.pwrite(fd, bytes, size > kPageBytes ? kPageBytes * 3 : size, offset);
  };
  write_second_version();
  EXPECT_GT(calls, 100);
  EXPECT_EQ(content(2).at(0).at(1499), page_of(2499));
}

TEST_F(Failure, file_system_without_direct_io_is_written_buffered) {
  system_calls().openat = [](int directory, const char* path, int flags, mode_t mode) {
    if ((flags & O_DIRECT) == 0) return kRealCalls.openat(directory, path, flags, mode);
    errno = EINVAL;
    return -1;
  };
  write_second_version();
  EXPECT_EQ(content(2).at(0).at(1499), page_of(2499));
}

// Fails each call of one operation in turn, the nth with code_of(nth), and checks the store after each
// failure.
void for_each_failing_call(const std::function<int(int)>& code_of, const std::function<void()>& operation,
                           const std::function<void()>& check) {
  make_fail<&SystemCalls::openat>();
  make_fail<&SystemCalls::close>();
  make_fail<&SystemCalls::fstat>();
  make_fail<&SystemCalls::pread>();
  make_fail<&SystemCalls::pwrite>();
  make_fail<&SystemCalls::fdatasync>();
  make_fail<&SystemCalls::fsync>();
  make_fail<&SystemCalls::renameat>();
  make_fail<&SystemCalls::unlinkat>();
  make_fail<&SystemCalls::mkdirat>();
  make_fail<&SystemCalls::lock>();
  SystemCalls failing = system_calls();
  for (int nth = 0;; ++nth) {
    system_calls() = failing;
    fault = {.calls_left = nth, .code = code_of(nth)};
    bool threw = false;
    try {
      operation();
    } catch (const Error&) {
      threw = true;
    }
    bool reached = fault.calls_left == -1;
    system_calls() = kRealCalls;
    check();
    if (!reached) {
      EXPECT_FALSE(threw);
      EXPECT_GT(nth, 5);
      return;
    }
  }
}

void for_each_failing_call(const std::function<void()>& operation, const std::function<void()>& check) {
  for_each_failing_call([](int) { return EIO; }, operation, check);
}

TEST_F(Failure, any_failing_call_of_a_checkpoint_leaves_a_whole_store) {
  for_each_failing_call([&] { write_second_version(); },
                        [&] {
                          ASSERT_EQ(content(1), before_);
                          ASSERT_TRUE(application_->damaged().empty());
                          for (Version version : versions()) {
                            if (version != 1) application_->remove(version);
                          }
                          for (const std::string& file : files())
                            ASSERT_NE(file.substr(0, 5), ".tmp-") << "left behind";
                        });
}

TEST_F(Failure, any_failing_call_of_a_removal_leaves_the_other_versions_whole) {
  Version last = 1;
  for (std::uint64_t i = 0; i < 40; ++i) last = commit_page(last, 100 + i);
  Model expected = content(last);
  for_each_failing_call(
      [&] {
        std::vector<Version> present = versions();
        // Whatever is reported as damaged by an injected failure must not cause a deletion.
        if (present.size() > 1) application_->remove(present[0]);
      },
      [&] {
        ASSERT_EQ(content(last), expected);
        ASSERT_EQ(versions().back(), last);
      });
}

// The same with all that the calls may fail with; the store goes on after EINTR. CKPT_SOAK=full: each call
// with each of them, else each with one.
void for_each_failing_call_and_error(const std::function<void()>& operation,
                                     const std::function<void()>& check) {
  static constexpr std::array kErrors = {EIO, ENOSPC, EDQUOT, EINTR, EMFILE, ENOMEM, EROFS, EACCES};
  const char* soak = std::getenv("CKPT_SOAK");
  if (soak == nullptr || std::string_view(soak) != "full") {
    return for_each_failing_call(
        [](int nth) { return kErrors[static_cast<std::size_t>(nth) % kErrors.size()]; }, operation, check);
  }
  for (int code : kErrors) for_each_failing_call([code](int) { return code; }, operation, check);
}

TEST_F(Failure, any_failing_call_of_tagging_leaves_the_tag_or_none) {
  Version last = commit_page(1, 5);
  for_each_failing_call_and_error(
      [&] {
        application_->tag(1, "one");
        application_->untag("one");
        application_->tag(last, "two");
        EXPECT_THROW(application_->remove(last), Error);
      },
      [&] {
        for (const Tag& tag : application_->tags()) {
          ASSERT_TRUE(tag == (Tag{1, "one"}) || tag == (Tag{last, "two"})) << tag.label;
          application_->untag(tag.label);
        }
        ASSERT_EQ(versions(), (std::vector<Version>{1, last}));
        ASSERT_EQ(content(1), before_);
      });
}

TEST_F(Failure, any_failing_call_of_reclaiming_leaves_the_versions_whole) {
  for_each_failing_call_and_error(
      [&] {
        SystemCalls failing = std::exchange(system_calls(), kRealCalls);
        Version last = versions().back();
        auto writer = application_->begin(last, Base::kParent);
        for (std::uint64_t i = 0; i < 80; ++i) writer->put(1, i, page_of(i + 1000 * last));
        Version garbage = commit(*writer);
        writer = application_->begin(garbage, Base::kParent);
        for (std::uint64_t i = 0; i < 79; ++i) writer->put(1, i, page_of(i + 2000 * last));
        Version kept = commit(*writer);
        before_ = content(kept);
        for (Version version : versions()) {
          if (version != kept) application_->remove(version);
        }
        system_calls() = failing;
        application_->reclaim();
      },
      [&] {
        ASSERT_EQ(versions().size(), 1U);
        ASSERT_EQ(content(versions().back()), before_);
        ASSERT_EQ(application_->verify().damaged.size(), 0U);
      });
}

TEST_F(Failure, any_failing_call_of_receiving_leaves_the_version_or_none) {
  std::vector<std::byte> stream;
  send_version("app", *application_->open(1), nullptr, 0, [&](std::span<const std::byte> bytes) {
    stream.insert(stream.end(), bytes.begin(), bytes.end());
  });
  Store other = Store::open(directory_ + "/other", true);
  auto receive = [&] {
    std::span<const std::byte> left(stream);
    receive_version(other, std::nullopt, [&](std::span<std::byte> out) {
      std::size_t size = std::min(out.size(), left.size());
      std::copy_n(left.begin(), size, out.begin());
      left = left.subspan(size);
      return size;
    });
  };
  for_each_failing_call_and_error(receive, [&] {
    if (other.contains("app")) {
      auto application = other.application("app");
      ASSERT_TRUE(application->damaged().empty());
      for (const VersionEntry& entry : application->versions())
        ASSERT_EQ(content_of(*application->open(entry.description.version), {0, 1, 2, 3}), before_);
    }
    receive();  // again, whatever is there by now
    ASSERT_EQ(other.application("app")->versions().size(), 1U);
    ASSERT_EQ(content_of(*other.application("app")->open(1), {0, 1, 2, 3}), before_);
    ASSERT_TRUE(partial_transfers(other).empty());
    other.remove_application("app");
  });
}

TEST_F(Failure, files_of_a_crashed_writer_are_removed_by_the_next_one) {
  std::filesystem::copy_file(path_of("v0000000001.ckpt"), path_of(".tmp-v0000000002"));
  std::filesystem::copy_file(path_of("v0000000001.ckpt"), path_of(".tmp-v0000000007"));
  application_->begin(0, Base::kEmpty);
  expect_only_first_version();
}

TEST_F(Failure, second_writer_at_the_same_time_is_refused) {
  auto writer = application_->begin(1, Base::kParent);
  auto other = store_->application("app");
  EXPECT_NE(error_of([&] { other->begin(1, Base::kParent); }).find("is being written"), std::string::npos);
  writer.reset();
  other->begin(1, Base::kParent);
  expect_only_first_version();
}

}  // namespace
}  // namespace ckpt::store
