// A userfaultfd with the operations that the pager needs. Thread-safe: the kernel's calls are.
//
// Hard rules (userfaultfd(2), UFFDIO_* manual pages; facts in tests/assumptions):
//   1. CONTINUE without write protection drops an armed one: say which is wanted each time.
//   2. Whoever reads a message owes the faulting thread a map(), unprotect() or wake() of its page; otherwise
//   that
//      thread sleeps for ever. A message for a page that another thread is busy with is covered by that
//      thread.
#pragma once

#include <linux/userfaultfd.h>
#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <optional>

#include "base/unique_fd.h"

namespace ckpt::vmheap {

struct ByteRange {
  std::uint64_t begin = 0;  // address
  std::uint64_t size = 0;   // bytes

  std::uint64_t end() const { return begin + size; }
};

struct Fault {
  std::uint64_t address = 0;
  bool write = false;            // the access was a write
  bool write_protected = false;  // the page is mapped, and protected
  bool minor = false;            // the page exists, and is not mapped
  pid_t thread = 0;              // that waits for it
};

// Whether a thread that waits for a page does so in a system call: then nobody can stop it before it has the
// page. No malloc.
bool waits_in_system_call(pid_t thread);

enum class Access { kRead, kWrite };

class Userfault {
 public:
  // With faults of the kernel (system calls on heap memory) where this user may have them, without otherwise.
  // Throws Error where the kernel lacks what is needed.
  Userfault();

  bool serves_kernel() const { return serves_kernel_; }
  // For missing, minor and write-protection faults of a shared mapping.
  void watch(ByteRange range);

  // In a process that was recovered: another one in its place, that watches nothing.
  void renew();

  // Waits for a fault; nullopt from stop() to go_on().
  std::optional<Fault> next();
  // All threads in next() return.
  void stop();
  void go_on();

  int number() const { return fd_.get(); }

  // Maps the pages that the file behind has, and wakes who waits for them.
  void map(ByteRange range, Access access);
  void protect(ByteRange range);    // writes fault
  void unprotect(ByteRange range);  // and wakes
  void wake(ByteRange range);
  // Accesses to the pages raise SIGBUS from now on, until map(): their content cannot be had.
  void poison(ByteRange range);

 private:
  UniqueFd fd_;
  UniqueFd stop_;  // eventfd
  std::atomic<bool> stopped_ = false;
  bool serves_kernel_ = false;
};

}  // namespace ckpt::vmheap
