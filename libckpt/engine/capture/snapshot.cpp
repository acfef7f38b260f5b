#include "engine/capture/snapshot.h"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <optional>
#include <sstream>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

constexpr std::chrono::seconds kBirthDeadline{10};

void advise(Tracee& tracee, const AddressRanges& ranges, std::uint64_t advice) {
  for (const AddressRange& range : ranges)
    tracee.remote_syscall(SYS_madvise, {range.start, range.size_bytes(), advice});
}

// Our id of the program's child that its own pid namespace calls `inner_pid`; 0 if there is none.
pid_t find_child(pid_t parent, std::int64_t inner_pid) {
  std::string inner = std::to_string(inner_pid);
  std::istringstream children(read_file(fmt::format("/proc/{0}/task/{0}/children", parent)));
  for (pid_t child = 0; children >> child;) {
    std::string status = read_file(fmt::format("/proc/{}/status", child));
    if (last_word(status_field(status, "NSpid")) == inner) return child;
  }
  return 0;
}

}  // namespace

std::unique_ptr<Snapshot> Snapshot::take(Tracee& tracee, const AddressRanges& left_out) {
  advise(tracee, left_out, MADV_DONTFORK);
  std::int64_t result = tracee.remote_syscall(SYS_clone, {CLONE_PTRACE | CLONE_FILES, 0, 0, 0, 0});
  advise(tracee, left_out, MADV_DOFORK);
  if (result < 0) return nullptr;
  pid_t pid = find_child(tracee.pid(), result);
  if (pid == 0)
    throw Error("the snapshot of the program was killed; the next checkpoint makes another", ESRCH);
  std::unique_ptr<Snapshot> snapshot(new Snapshot(pid, result));
  std::optional<Stop> stop = wait_for_stop(pid, pid, std::chrono::steady_clock::now() + kBirthDeadline);
  if (!stop || stop->ended) return nullptr;
  return snapshot;
}

Snapshot::~Snapshot() { end(); }

void Snapshot::end() {
  if (ended_) return;
  ended_ = true;
  ::kill(pid_, SIGKILL);
  // Somebody else may have killed it and the supervisor's loop may have seen it end.
  while (::waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

void Snapshot::reap(Tracee& program) const {
  program.remote_syscall(SYS_wait4, {static_cast<std::uint64_t>(inner_pid_), 0, __WALL | WNOHANG, 0});
}

}  // namespace ckpt::engine
