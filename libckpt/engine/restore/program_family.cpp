#include "engine/restore/program_family.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt::engine {
namespace {

void add_children(pid_t pid, std::vector<pid_t>& family) {
  std::error_code error;
  std::filesystem::directory_iterator task(fmt::format("/proc/{}/task", pid), error);
  for (; !error && task != std::filesystem::directory_iterator(); task.increment(error)) {
    std::string list;
    try {
      list = read_file(task->path() / "children");
    } catch (const Error&) {
      continue;  // that thread has just ended
    }
    std::string_view rest = list;
    for (std::size_t end; (end = rest.find(' ')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
      if (auto child = parse_unsigned(rest.substr(0, end))) family.push_back(static_cast<pid_t>(*child));
    }
  }
}

}  // namespace

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
    add_children(pid, family);
    for (std::size_t i = 0; i < family.size(); ++i) add_children(pid_t{family[i]}, family);
  } catch (const std::exception&) {
    family.clear();  // no memory for the list: then the program alone
  }
  ::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0);
  for (pid_t member : family) ::kill(member, SIGKILL);
}

}  // namespace ckpt::engine
