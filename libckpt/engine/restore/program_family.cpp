#include "engine/restore/program_family.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <iterator>
#include <vector>

#include "engine/process/family.h"

namespace ckpt::engine {

bool has_ended(int pidfd, int timeout_ms) noexcept {
  pollfd end{.fd = pidfd, .events = POLLIN, .revents = 0};
  while (::poll(&end, 1, timeout_ms) < 0 && errno == EINTR) {
  }
  return (end.revents & POLLIN) != 0;
}

// Descendants are listed before anybody is killed: those of a dead process belong to somebody else.
void kill_family(pid_t pid, int pidfd) noexcept {
  if (has_ended(pidfd, 0)) return;
  std::vector<pid_t> family;
  try {
    family = list_children(pid);
    for (std::size_t i = 0; i < family.size(); ++i)
      std::ranges::copy(list_children(pid_t{family[i]}), std::back_inserter(family));
  } catch (const std::exception&) {
    family.clear();  // no memory for the list: then the program alone
  }
  ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  for (pid_t member : family) ::kill(member, SIGKILL);
}

}  // namespace ckpt::engine
