#include "heap/userfault.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "base/kernel_abi.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kNeeded = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM |
                                  UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                                  UFFD_FEATURE_THREAD_ID | kernel::kUserfaultPoisonFeature;

int create(int flags) {
  return static_cast<int>(::syscall(SYS_userfaultfd, static_cast<unsigned>(flags | O_CLOEXEC | O_NONBLOCK)));
}

// The device gives faults of the kernel to whoever may open it (Linux 6.1).
int create_by_device() {
  UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  return device ? ::ioctl(device.get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK) : -1;
}

uffdio_range range_of(ByteRange range) { return {.start = range.begin, .len = range.size}; }

[[noreturn]] void fail(const char* what, ByteRange range, int code) {
  throw_errno(fmt::format("{} of heap memory {:#x}+{:#x}", what, range.begin, range.size), code);
}

}  // namespace

bool waits_in_system_call(pid_t thread) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "/proc/self/task/%d/syscall", thread);
  UniqueFd file(::open(text.data(), O_RDONLY | O_CLOEXEC));
  // proc(5): "-1 ..." of a thread that is blocked, but not in a system call. "running" is one that has been
  // told to stop, and cannot: it asks for the page again and again.
  text = {};
  ssize_t got = file ? ::read(file.get(), text.data(), text.size() - 1) : 0;
  return got < 2 || std::string_view(text.data(), 2) != "-1";
}

Userfault::Userfault() : stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!stop_) throw_errno("eventfd");
  renew();
}

void Userfault::renew() {
  fd_ = UniqueFd(create(0));
  if (!fd_) fd_ = UniqueFd(create_by_device());
  serves_kernel_ = static_cast<bool>(fd_);
  if (!fd_) fd_ = UniqueFd(create(UFFD_USER_MODE_ONLY));
  if (!fd_)
    throw Error(fmt::format("a heap needs userfaultfd: {}; enable it in the kernel", describe_errno(errno)),
                errno);
  uffdio_api api{.api = UFFD_API, .features = kNeeded, .ioctls = 0};
  if (::ioctl(fd_.get(), UFFDIO_API, &api) != 0) {
    throw Error("a heap needs userfaultfd for shared memory with poisoning; use Linux 6.6 or newer", errno);
  }
}

void Userfault::watch(ByteRange range) {
  uffdio_register request{
      .range = range_of(range),
      .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
      .ioctls = 0};
  if (::ioctl(fd_.get(), UFFDIO_REGISTER, &request) != 0) fail("UFFDIO_REGISTER", range, errno);
}

std::optional<Fault> Userfault::next() {
  while (!stopped_) {
    uffd_msg message;
    ssize_t got = ::read(fd_.get(), &message, sizeof message);
    if (got == static_cast<ssize_t>(sizeof message)) {
      if (message.event != UFFD_EVENT_PAGEFAULT) continue;
      std::uint64_t flags = message.arg.pagefault.flags;
      return Fault{.address = message.arg.pagefault.address,
                   .write = (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0,
                   .write_protected = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0,
                   .minor = (flags & UFFD_PAGEFAULT_FLAG_MINOR) != 0,
                   .thread = static_cast<pid_t>(message.arg.pagefault.feat.ptid)};
    }
    if (got >= 0 || (errno != EAGAIN && errno != EINTR)) throw_errno("read userfaultfd");
    std::array<pollfd, 2> wait{pollfd{.fd = fd_.get(), .events = POLLIN, .revents = 0},
                               pollfd{.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) throw_errno("poll userfaultfd");
  }
  return std::nullopt;
}

void Userfault::stop() {
  stopped_ = true;
  std::uint64_t one = 1;
  if (::write(stop_.get(), &one, sizeof one) != sizeof one) throw_errno("write eventfd");
}

void Userfault::go_on() {
  std::uint64_t count = 0;
  [[maybe_unused]] ssize_t got = ::read(stop_.get(), &count, sizeof count);
  stopped_ = false;
}

void Userfault::map(ByteRange range, Access access) {
  ByteRange left = range;
  while (left.size > 0) {
    uffdio_continue request{.range = range_of(left),
                            .mode = access == Access::kRead ? kernel::kUserfaultContinueProtected : 0,
                            .mapped = 0};
    if (::ioctl(fd_.get(), UFFDIO_CONTINUE, &request) == 0) return;
    if (errno == EEXIST || errno == EAGAIN) {
      // Stopped at a page that another thread has mapped meanwhile; `mapped` is how far it came, if at all.
      std::uint64_t done = request.mapped > 0 ? static_cast<std::uint64_t>(request.mapped) : 0;
      if (errno == EEXIST && done == 0) {
        ByteRange page{.begin = left.begin, .size = 4096};
        access == Access::kWrite ? unprotect(page) : wake(page);
        done = page.size;
      }
      left = {.begin = left.begin + done, .size = left.size - done};
      continue;
    }
    fail("UFFDIO_CONTINUE", left, errno);
  }
}

void Userfault::protect(ByteRange range) {
  uffdio_writeprotect request{.range = range_of(range), .mode = UFFDIO_WRITEPROTECT_MODE_WP};
  while (::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &request) != 0) {
    if (errno != EAGAIN) fail("UFFDIO_WRITEPROTECT", range, errno);
  }
}

void Userfault::unprotect(ByteRange range) {
  uffdio_writeprotect request{.range = range_of(range), .mode = 0};
  while (::ioctl(fd_.get(), UFFDIO_WRITEPROTECT, &request) != 0) {
    if (errno != EAGAIN) fail("UFFDIO_WRITEPROTECT", range, errno);
  }
}

void Userfault::wake(ByteRange range) {
  uffdio_range request = range_of(range);
  if (::ioctl(fd_.get(), UFFDIO_WAKE, &request) != 0) fail("UFFDIO_WAKE", range, errno);
}

void Userfault::poison(ByteRange range) {
  // A page that was write-protected has a marker, which would be in the way.
  unprotect(range);
  kernel::UserfaultPoison request{.start = range.begin, .size = range.size, .mode = 0, .updated = 0};
  // A page that is mapped stays as it is.
  if (::ioctl(fd_.get(), kernel::kUserfaultPoison, &request) != 0 && errno != EEXIST)
    fail("UFFDIO_POISON", range, errno);
  wake(range);
}

}  // namespace ckpt::vmheap
