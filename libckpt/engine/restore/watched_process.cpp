#include "engine/restore/watched_process.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"

namespace ckpt::engine {
namespace {

UniqueFd take_descriptor(pid_t pid, std::int64_t number) {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return {};
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), static_cast<int>(number), 0)));
}

}  // namespace

UniqueFd open_fault_device(int scratch_base) {
  UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!device) return device;
  return UniqueFd(::fcntl(device.get(), F_DUPFD_CLOEXEC, scratch_base));
}

std::optional<UserFaults> take_user_faults(Puppet& puppet, int device) {
  constexpr std::uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;
  std::int64_t made =
      device >= 0 ? puppet.call(SYS_ioctl, {static_cast<std::uint64_t>(device), USERFAULTFD_IOC_NEW, kFlags})
                  : puppet.call(SYS_userfaultfd, {kFlags});
  if (made < 0) return std::nullopt;
  UniqueFd taken = take_descriptor(puppet.pid(), made);
  puppet.call(SYS_close, {static_cast<std::uint64_t>(made)});
  if (!taken) return std::nullopt;
  UserFaults faults(std::move(taken));
  try {
    faults.start();
  } catch (const Error&) {
    return std::nullopt;  // the event of a fork is told to privileged processes only
  }
  return faults;
}

}  // namespace ckpt::engine
