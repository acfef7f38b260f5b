// Adjustments are found by questions alone: a set of one semaphore that behaves as the kernel's do.
#include "engine/resource/semaphore_undo.h"

#include <gtest/gtest.h>
#include <sys/ipc.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

namespace ckpt::engine {
namespace {

using resource::find_undo;
using resource::undo_again;

class Semaphore : public ProgramCalls {
 public:
  Semaphore(int value, int undo) : value_(value), undo_(undo) {}

  pid_t pid() const override { return 1; }
  std::int32_t current_tid(std::int32_t saved) const override { return saved; }
  std::int32_t proc_tid(std::int32_t saved) const override { return saved; }
  RemoteAddr place(std::span<const std::byte> bytes) override {
    operations_.resize(bytes.size() / sizeof(sembuf));
    std::memcpy(operations_.data(), bytes.data(), bytes.size());
    return {};
  }
  void fetch(RemoteAddr, std::span<std::byte>) override {}
  std::int64_t call(long number, std::initializer_list<std::uint64_t>) override {
    EXPECT_EQ(SYS_semop, number);
    return operate(operations_);
  }

  // All or nothing, as perform_atomic_semop_slow() of ipc/sem.c.
  std::int64_t operate(const std::vector<sembuf>& operations) {
    constexpr int kMost = 32767;
    int value = value_;
    int undo = undo_;
    for (const sembuf& operation : operations) {
      if (operation.sem_op == 0 && value != 0) return -EAGAIN;
      value += operation.sem_op;
      if (value < 0) return -EAGAIN;
      if (value > kMost) return -ERANGE;
      if ((operation.sem_flg & SEM_UNDO) == 0) continue;
      undo -= operation.sem_op;
      if (undo < -kMost - 1 || undo > kMost) return -ERANGE;
    }
    value_ = value;
    undo_ = undo;
    return 0;
  }

  int value() const { return value_; }
  int undo() const { return undo_; }

 private:
  int value_;
  int undo_;
  std::vector<sembuf> operations_;
};

constexpr std::array kValues{0, 1, 100, 16383, 16384, 32766, 32767};
constexpr std::array kUndos{-32768, -32767, -100, -1, 0, 1, 7, 16384, 32766, 32767};

TEST(SemaphoreUndo, IsFoundWithoutChangingAnything) {
  for (int value : kValues) {
    for (int undo : kUndos) {
      Semaphore semaphore(value, undo);
      EXPECT_EQ(undo, find_undo(semaphore, 1, 0, static_cast<unsigned>(value))) << "at value " << value;
      EXPECT_EQ(value, semaphore.value());
      EXPECT_EQ(undo, semaphore.undo());
    }
  }
}

TEST(SemaphoreUndo, IsMadeAgain) {
  for (int value : {0, 5, 32767}) {
    for (int undo : {-3, 0, 1, 32767}) {
      auto again = undo_again(0, static_cast<std::uint16_t>(value), static_cast<std::int16_t>(undo));
      if (undo == 32767 && value != 0) continue;  // the value before would have been out of range
      Semaphore semaphore(again.first_value, 0);
      EXPECT_EQ(0, semaphore.operate(again.operations)) << value << ", " << undo;
      EXPECT_EQ(value, semaphore.value()) << "with undo " << undo;
      EXPECT_EQ(undo, semaphore.undo()) << "at value " << value;
    }
  }
}

}  // namespace
}  // namespace ckpt::engine
