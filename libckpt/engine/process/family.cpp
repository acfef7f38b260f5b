#include "engine/process/family.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/proc_stat.h"
#include "base/thread_list.h"

namespace ckpt::engine {
namespace {

// The commands of leases are children of the supervisor, too, and may leave something running.
bool is_of_a_lease(pid_t pid) try {
  std::string_view variable = "CKPT_LEASE_EVENT=";
  std::string environment = read_file(fmt::format("/proc/{}/environ", pid));
  return environment.starts_with(variable) ||
         environment.find('\0' + std::string(variable)) != std::string::npos;
} catch (const Error&) {
  return false;  // ended, or of another user, which is going to be said
}

bool is_exiting(pid_t pid) try { return (ProcStat(pid).flags() & kFlagExiting) != 0; } catch (const Error&) {
  return true;
}

// A main thread that ended before the others is a zombie, too.
bool shows_end(const ProcStat& stat) { return stat.state() == 'Z' && stat.thread_count() <= 1; }

void add(pid_t pid, pid_t parent, std::vector<Relative>& family) {
  family.push_back({.pid = pid, .parent = parent, .ended = true});
  try {
    ProcStat stat(pid);
    family.back().ended = shows_end(stat);
    family.back().start_time = stat.start_time();
    family.back().thread_count = stat.thread_count();
  } catch (const Error&) {
    return;  // gone
  }
}

void add_children_of_thread(pid_t pid, pid_t tid, std::vector<pid_t>& children) {
  std::string list;
  try {
    list = read_file(fmt::format("/proc/{}/task/{}/children", pid, tid));
  } catch (const Error&) {
    return;  // that thread has just ended
  }
  for (std::string_view rest = list; !rest.empty();) {
    if (auto child = parse_unsigned(take_field(rest, ' '))) children.push_back(static_cast<pid_t>(*child));
  }
}

std::vector<pid_t> children_of(const Relative& parent) {
  if (parent.thread_count != 1) return list_children(parent.pid);
  std::vector<pid_t> children;
  add_children_of_thread(parent.pid, parent.pid, children);
  return children;
}

void add_orphans(const FamilyRoots& roots, std::vector<Relative>& family) {
  if (roots.namespace_init != 0) {
    for (pid_t pid : list_children(roots.namespace_init)) add(pid, 0, family);
  }
  if (!roots.orphans) return;
  for (pid_t pid : list_children(::getpid())) {
    bool ours = pid == roots.program || pid == roots.namespace_init || pid == roots.guardian;
    if (!ours && !is_of_a_lease(pid)) add(pid, 0, family);
  }
}

}  // namespace

bool has_ended(pid_t pid) try { return shows_end(ProcStat(pid)); } catch (const Error&) {
  return true;
}

bool is_ending(pid_t pid) { return has_ended(pid) || is_exiting(pid); }

// Before it is a zombie it has no memory any more, and its files in /proc belong to root.
bool is_end_of(pid_t pid, const Error& error) { return error.code() == ESRCH || is_ending(pid); }

std::vector<pid_t> list_children(pid_t pid) {
  std::vector<pid_t> children;
  for (pid_t tid : list_threads(pid)) add_children_of_thread(pid, tid, children);
  return children;
}

bool has_orphans(const FamilyRoots& roots) {
  std::vector<Relative> orphans;
  add_orphans(roots, orphans);
  return !orphans.empty();
}

std::vector<Relative> list_family(const FamilyRoots& roots) {
  std::vector<Relative> family;
  add(roots.program, 0, family);
  add_orphans(roots, family);
  for (std::size_t i = 0; i < family.size(); ++i) {
    if (family[i].ended) continue;
    pid_t parent = family[i].pid;
    for (pid_t child : children_of(family[i])) add(child, parent, family);
  }
  return family;
}

// waitid() that looks and does not wait says at once whether there is any child, whichever thread made it.
void expect_no_children(RemoteQueries& queries) {
  constexpr std::uint64_t kOptions = WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT | __WALL;
  queries.ask(SYS_waitid, {P_ALL, 0, 0, kOptions, 0}, [](std::int64_t result) {
    if (result == -ECHILD) return;
    if (result < 0) throw_errno("look for children of the program", static_cast<int>(-result));
    throw FamilyGrew();
  });
}

}  // namespace ckpt::engine
