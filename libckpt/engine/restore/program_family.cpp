#include "engine/restore/program_family.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <iterator>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/pidfd.h"
#include "engine/process/family.h"

namespace ckpt::engine {

bool has_ended(int pidfd, int timeout_ms) noexcept {
  pollfd end{.fd = pidfd, .events = POLLIN, .revents = 0};
  while (::poll(&end, 1, timeout_ms) < 0 && errno == EINTR) {
  }
  return (end.revents & POLLIN) != 0;
}

bool have_ended(const std::vector<WatchedProcess>& processes, int timeout_ms) noexcept {
  return std::ranges::all_of(
      processes, [&](const WatchedProcess& process) { return has_ended(process.pidfd.get(), timeout_ms); });
}

WatchedProcess watch_process(pid_t pid) {
  UniqueFd pidfd = open_pidfd(pid);
  if (!pidfd) throw_errno("watch the program");
  return {.pid = pid, .pidfd = std::move(pidfd)};
}

// Descendants are listed before anybody is killed: those of a dead process belong to somebody else.
void kill_families(const std::vector<WatchedProcess>& processes) noexcept {
  std::vector<pid_t> family;
  try {
    for (const WatchedProcess& process : processes) {
      if (!has_ended(process.pidfd.get(), 0))
        std::ranges::copy(list_children(process.pid), std::back_inserter(family));
    }
    for (std::size_t i = 0; i < family.size(); ++i)
      std::ranges::copy(list_children(pid_t{family[i]}), std::back_inserter(family));
  } catch (const std::exception&) {
    family.clear();  // no memory for the list: then those that we know
  }
  for (const WatchedProcess& process : processes)
    ::syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
  for (pid_t member : family) ::kill(member, SIGKILL);
}

}  // namespace ckpt::engine
