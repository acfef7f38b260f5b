#include "engine/restore/user_faults.h"

#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/error.h"
#include "base/kernel_abi.h"
#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kEvents =
    UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;
constexpr std::size_t kMessagesAtOnce = 32;

Installed outcome_of(int result, std::int64_t installed_bytes, std::uint64_t page, std::uint64_t wanted) {
  if (result == 0) return {.outcome = Installing::kDone, .page_count = wanted};
  // Some may have been installed before the one that failed; the kernel then says EAGAIN.
  std::uint64_t count = installed_bytes > 0 ? static_cast<std::uint64_t>(installed_bytes) / kPageSize : 0;
  switch (installed_bytes < 0 ? static_cast<int>(-installed_bytes) : errno) {
    case EAGAIN:
      return {.outcome = Installing::kChanging, .page_count = count};
    case EEXIST:
      return {.outcome = Installing::kPresent, .page_count = count};
    case ENOENT:
    case EINVAL:
      return {.outcome = Installing::kNoRange, .page_count = count};
    case ESRCH:
      return {.outcome = Installing::kGone, .page_count = count};
    default:
      throw_errno(fmt::format("put memory at {:#x}", (page + count) * kPageSize));
  }
}

UserFaultEvent event_of(const uffd_msg& message) {
  if (message.event == UFFD_EVENT_FORK) {
    return {.kind = UserFaultEvent::Kind::kForked, .child = UniqueFd(static_cast<int>(message.arg.fork.ufd))};
  }
  if (message.event == UFFD_EVENT_REMAP) {
    return {.kind = UserFaultEvent::Kind::kMoved,
            .page = message.arg.remap.from / kPageSize,
            .page_count = message.arg.remap.len / kPageSize,
            .to = message.arg.remap.to / kPageSize,
            .child = {}};
  }
  return {.kind = UserFaultEvent::Kind::kRemoved,
          .page = message.arg.remove.start / kPageSize,
          .page_count = (message.arg.remove.end - message.arg.remove.start) / kPageSize,
          .child = {}};
}

}  // namespace

void UserFaults::start(Watching watching) {
  watches_writes_ = watching == Watching::kFaultsAndWrites;
  uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
  if (watching != Watching::kNothing) api.features |= kEvents;
  if (watches_writes_)
    api.features |= kernel::kUserfaultWriteProtectAsync | kernel::kUserfaultWriteProtectUnpopulated;
  if (::ioctl(fd_.get(), UFFDIO_API, &api) != 0) throw_errno("watch memory by userfaultfd");
}

bool UserFaults::watch(std::uint64_t start, std::uint64_t end) const {
  uffdio_register request{
      .range = {.start = start, .len = end - start}, .mode = UFFDIO_REGISTER_MODE_MISSING, .ioctls = 0};
  if (watches_writes_) request.mode |= UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(fd_.get(), UFFDIO_REGISTER, &request) == 0;
}

UserFaults UserFaults::of_child(UniqueFd child) const {
  UserFaults faults(std::move(child));
  faults.watches_writes_ = watches_writes_;
  return faults;
}

UserFaultMessages UserFaults::read() const {
  UserFaultMessages messages;
  std::array<uffd_msg, kMessagesAtOnce> buffer;
  ssize_t got = ::read(fd_.get(), buffer.data(), sizeof buffer);
  if (got < 0 && errno != EAGAIN && errno != EINTR) throw_errno("read from a userfaultfd");
  for (std::size_t i = 0; got > 0 && i < static_cast<std::size_t>(got) / sizeof(uffd_msg); ++i) {
    const uffd_msg& message = buffer[i];
    if (message.event == UFFD_EVENT_PAGEFAULT) {
      messages.faults.push_back({.page = message.arg.pagefault.address / kPageSize,
                                 .write = (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0});
    } else {
      messages.events.push_back(event_of(message));
    }
  }
  return messages;
}

Installed UserFaults::install(std::uint64_t page, std::span<const std::byte> bytes, bool unwritten) const {
  uffdio_copy request{.dst = page * kPageSize,
                      .src = reinterpret_cast<std::uintptr_t>(bytes.data()),
                      .len = bytes.size(),
                      .mode = unwritten && watches_writes_ ? UFFDIO_COPY_MODE_WP : 0U,
                      .copy = 0};
  int result = ::ioctl(fd_.get(), UFFDIO_COPY, &request);
  return outcome_of(result, request.copy, page, bytes.size() / kPageSize);
}

Installed UserFaults::install_zeroes(std::uint64_t page, std::uint64_t page_count) const {
  uffdio_zeropage request{
      .range = {.start = page * kPageSize, .len = page_count * kPageSize}, .mode = 0, .zeropage = 0};
  int result = ::ioctl(fd_.get(), UFFDIO_ZEROPAGE, &request);
  return outcome_of(result, request.zeropage, page, page_count);
}

void UserFaults::wake(std::uint64_t page, std::uint64_t page_count) const {
  uffdio_range range{.start = page * kPageSize, .len = page_count * kPageSize};
  ::ioctl(fd_.get(), UFFDIO_WAKE, &range);  // fails only if the process is gone
}

}  // namespace ckpt::engine
