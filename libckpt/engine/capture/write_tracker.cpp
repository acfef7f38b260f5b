#include "engine/capture/write_tracker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/pidfd.h"

namespace ckpt::engine {
namespace {

// Also for pages that fault inside the kernel: write faults in WP_ASYNC mode never reach a handler.
constexpr std::uint64_t kCreateFlags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;

}  // namespace

UniqueFd take_userfaultfd(Tracee& tracee, std::uint64_t flags) {
  std::int64_t inside = tracee.remote_syscall(SYS_userfaultfd, {flags});
  if (inside < 0) return {};
  UniqueFd taken = copy_descriptor_of(tracee.pid(), static_cast<int>(inside));
  tracee.remote_syscall(SYS_close, {static_cast<std::uint64_t>(inside)});
  return taken;
}

WriteTracker::WriteTracker(UniqueFd userfault, UniqueFd pagemap)
    : userfault_(std::move(userfault)), pagemap_(std::move(pagemap)) {}

std::unique_ptr<WriteTracker> WriteTracker::create(Tracee& tracee) {
  UniqueFd userfault = take_userfaultfd(tracee, kCreateFlags);
  if (!userfault) return nullptr;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kernel::kUserfaultWriteProtectAsync | kernel::kUserfaultWriteProtectUnpopulated;
  if (::ioctl(userfault.get(), UFFDIO_API, &api) != 0) return nullptr;
  UniqueFd pagemap = open_or_throw(fmt::format("/proc/{}/pagemap", tracee.pid()), O_RDONLY);
  return std::unique_ptr<WriteTracker>(new WriteTracker(std::move(userfault), std::move(pagemap)));
}

std::unique_ptr<WriteTracker> WriteTracker::of(int userfault, pid_t pid, store::Version base) {
  UniqueFd own(::fcntl(userfault, F_DUPFD_CLOEXEC, 0));
  if (!own) throw_errno("copy a userfaultfd");
  UniqueFd pagemap = open_or_throw(fmt::format("/proc/{}/pagemap", pid), O_RDONLY);
  std::unique_ptr<WriteTracker> tracker(new WriteTracker(std::move(own), std::move(pagemap)));
  tracker->base_ = base;
  return tracker;
}

std::unique_ptr<WriteTracker> WriteTracker::another() const {
  UniqueFd userfault(::fcntl(userfault_.get(), F_DUPFD_CLOEXEC, 0));
  UniqueFd pagemap(::fcntl(pagemap_.get(), F_DUPFD_CLOEXEC, 0));
  if (!userfault || !pagemap) throw_errno("copy a userfaultfd");
  return std::unique_ptr<WriteTracker>(new WriteTracker(std::move(userfault), std::move(pagemap)));
}

// Nothing is mapped at the lowest page; only where there is no address space any more the kernel says ESRCH.
bool WriteTracker::alive() const {
  uffdio_writeprotect request{};
  request.range = {.start = kPageSize, .len = kPageSize};
  return ::ioctl(userfault_.get(), UFFDIO_WRITEPROTECT, &request) == 0 || errno != ESRCH;
}

bool WriteTracker::register_for(std::uint64_t mode, AddressRange mapping) const {
  uffdio_register request{};
  request.range = {.start = mapping.start, .len = mapping.size_bytes()};
  request.mode = mode;
  return ::ioctl(userfault_.get(), UFFDIO_REGISTER, &request) == 0;
}

bool WriteTracker::register_mapping(AddressRange range) {
  return register_for(UFFDIO_REGISTER_MODE_WP, range);
}

bool WriteTracker::serve_missing(AddressRange mapping) {
  return register_for(UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING, mapping);
}

void WriteTracker::owe(const AddressRanges& ranges) {
  if (owed_.empty()) {
    owed_ = ranges;
  } else {
    owed_ = unite(owed_, ranges);
  }
}

void WriteTracker::settled(store::Version version) {
  owed_.clear();
  base_ = version;
}

}  // namespace ckpt::engine
