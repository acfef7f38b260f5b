// Forked processes to look at, for the tests of kernel facts.
#pragma once

#include <sys/mman.h>
#include <sys/types.h>
#include <sys/user.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>

namespace ckpt::assumptions {

// A uid and gid without any privilege.
inline constexpr unsigned kOrdinaryId = 65534;

// Polls until `condition` holds; false after a generous deadline.
bool wait_until(const std::function<bool()>& condition);

// One T in memory that parent and forked children share.
template <typename T>
class Shared {
 public:
  Shared() {
    void* memory = mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
    value_ = new (memory) T();
  }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { munmap(value_, sizeof(T)); }

  T* operator->() const { return value_; }
  T& operator*() const { return *value_; }

 private:
  T* value_;
};

// A process that runs `body` and exits with its value; killed and reaped when the object ends. The parent is
// its only tracer. Throws where the test itself cannot go on.
class Child {
 public:
  explicit Child(const std::function<int()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }

  // The main thread sleeps in one of these system calls.
  bool is_blocked_in(std::initializer_list<long> numbers) const;

  void seize(long options = 0) const;
  void interrupt() const;
  int wait_for_stop() const;  // status of the next stop
  int stop() const;           // seize, interrupt, wait
  void detach(int signal = 0) const;

  user_regs_struct registers() const;
  void set_registers(const user_regs_struct& registers) const;

  // Runs one system call at `instruction` by a single step and puts the registers back.
  std::int64_t remote_call(std::uint64_t instruction, long number,
                           std::initializer_list<std::uint64_t> arguments) const;

  int exit_code();  // waits for the end; -1 if it did not exit by itself

 private:
  pid_t pid_ = -1;
  bool reaped_ = false;
};

// Address of a `syscall` instruction in this program, hence also in children that have not executed another.
std::uint64_t syscall_instruction();

// Gives up all privileges for good; false if that failed. Harmless for an ordinary user.
bool become_ordinary();

}  // namespace ckpt::assumptions
