#include "engine/process/children.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/process/proc_status.h"

namespace ckpt::engine {
namespace {

std::string describe_child(std::uint64_t pid) {
  try {
    ProcStatus status = ProcStatus::of_process(static_cast<pid_t>(pid));
    bool ended = status.text("State").starts_with('Z');
    return fmt::format("{} ({}{})", pid, status.name(), ended ? ", ended" : "");
  } catch (const Error&) {
    return fmt::format("{}", pid);  // reaped just now
  }
}

std::string describe_children(const Tracee& tracee) {
  std::string found;
  for (const StoppedThread& thread : tracee.threads()) {
    std::string list = read_file(fmt::format("/proc/{}/task/{}/children", tracee.pid(), thread.tid));
    std::string_view rest = list;
    for (std::size_t end; (end = rest.find(' ')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
      if (auto pid = parse_unsigned(rest.substr(0, end))) {
        found += (found.empty() ? "" : ", ") + describe_child(*pid);
      }
    }
  }
  return found;
}

[[noreturn]] void refuse(const Tracee& tracee) {
  std::string children = describe_children(tracee);
  if (children.empty()) {
    throw Error(
        "the program traces other processes, which cannot be carried over; let it detach from them first");
  }
  throw Error(
      fmt::format("the program has child processes: {}; process trees cannot be checkpointed yet, "
                  "wait until they have ended and been waited for",
                  children));
}

}  // namespace

// waitid() that looks and does not wait says at once whether there is any child, whichever thread made it.
void refuse_children(const Tracee& tracee, RemoteQueries& queries) {
  constexpr std::uint64_t kOptions = WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL;
  queries.ask(SYS_waitid, {P_ALL, 0, 0, kOptions, 0}, [&tracee](std::int64_t result) {
    if (result == -ECHILD) return;
    if (result < 0) throw_errno("look for children of the program", static_cast<int>(-result));
    refuse(tracee);
  });
}

}  // namespace ckpt::engine
