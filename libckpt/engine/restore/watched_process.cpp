#include "engine/restore/watched_process.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/pidfd.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;

std::optional<UserFaults> take(Puppet& puppet, std::int64_t made, Watching watching) {
  if (made < 0) return std::nullopt;
  UniqueFd taken = copy_descriptor_of(puppet.pid(), static_cast<int>(made));
  puppet.call(SYS_close, {static_cast<std::uint64_t>(made)});
  if (!taken) return std::nullopt;
  UserFaults faults(std::move(taken));
  try {
    faults.start(watching);
  } catch (const Error&) {
    return std::nullopt;  // the event of a fork is told to privileged processes only
  }
  return faults;
}

}  // namespace

UniqueFd open_fault_device(int scratch_base) {
  UniqueFd device(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
  if (!device) return device;
  return UniqueFd(::fcntl(device.get(), F_DUPFD_CLOEXEC, scratch_base));
}

std::optional<UserFaults> take_user_faults(Puppet& puppet, int device, Watching watching) {
  std::int64_t made =
      device >= 0 ? puppet.call(SYS_ioctl, {static_cast<std::uint64_t>(device), USERFAULTFD_IOC_NEW, kFlags})
                  : puppet.call(SYS_userfaultfd, {kFlags});
  return take(puppet, made, watching);
}

std::optional<UserFaults> take_filling_faults(Puppet& puppet) {
  return take(puppet, puppet.call(SYS_userfaultfd, {kFlags | UFFD_USER_MODE_ONLY}), Watching::kNothing);
}

}  // namespace ckpt::engine
