#include "engine/process/attributes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <string_view>

#include "base/error.h"
#include "base/file_io.h"
#include "base/kernel_abi.h"
#include "base/parse.h"

namespace ckpt::engine {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::string without_newline(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

std::int32_t read_oom_score_adj(const std::string& pid) {
  std::string text = without_newline(read_file(fmt::format("/proc/{}/oom_score_adj", pid)));
  std::int32_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) throw Error("oom_score_adj is not a number");
  return value;
}

// None on kernels without core dumps.
std::int64_t read_coredump_filter(const std::string& pid) {
  std::string path = fmt::format("/proc/{}/coredump_filter", pid);
  if (::access(path.c_str(), F_OK) != 0) return -1;
  auto value = parse_unsigned(without_newline(read_file(path)), 16);
  return value ? static_cast<std::int64_t>(*value) : -1;
}

// Into the file of /proc/self with this name; 0, or the error of the write.
int write_own(const char* name, const std::string& text) {
  UniqueFd file = open_or_throw(fmt::format("/proc/self/{}", name), O_WRONLY);
  return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

void write_coredump_filter(std::int64_t value) {
  if (value < 0 || read_coredump_filter("self") == value) return;
  if (int error = write_own("coredump_filter", fmt::format("{:#x}", value)); error != 0)
    throw_errno("write coredump_filter", error);
}

void refuse_privileged_file(const std::string& path, const std::string& name) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return;
  bool set_group = (info.st_mode & S_ISGID) != 0 && (info.st_mode & S_IXGRP) != 0;
  bool file_capabilities = ::getxattr(path.c_str(), "security.capability", nullptr, 0) > 0;
  if ((info.st_mode & S_ISUID) == 0 && !set_group && !file_capabilities) return;
  throw Error(
      fmt::format("{} is a set-uid program (or set-gid, or has file capabilities), which cannot be rebuilt; "
                  "run a copy without these",
                  name));
}

// The path that the program file had; whether it is still there is for those who restore it to say.
std::string program_file(pid_t pid) {
  std::string link = fmt::format("/proc/{}/exe", pid);
  std::string path = read_link(link);
  refuse_privileged_file(link, path);
  struct stat info {};
  bool gone = ::stat(link.c_str(), &info) == 0 && info.st_nlink == 0;
  if (gone && path.ends_with(kDeleted)) path.resize(path.size() - kDeleted.size());
  return path;
}

std::string working_directory(pid_t pid) {
  std::string link = fmt::format("/proc/{}/cwd", pid);
  std::string path = read_link(link);
  struct stat info {};
  if (::stat(link.c_str(), &info) != 0) throw_errno(fmt::format("look at working directory {}", path));
  if (info.st_nlink == 0) {
    throw Error(
        fmt::format("the working directory {} has been removed, so that it cannot be entered again; "
                    "let the program change to another one",
                    path));
  }
  if (::access(path.c_str(), X_OK) != 0 && errno == EACCES) {
    throw Error(
        fmt::format("the working directory {} may not be entered (any more) by this user, so that a recover "
                    "could not; let the program change to another one, or change the permissions",
                    path));
  }
  return path;
}

std::string root_directory(pid_t pid) {
  std::string link = fmt::format("/proc/{}/root", pid);
  std::string path = read_link(link);
  struct stat theirs {
  }, ours{};
  if (::stat(link.c_str(), &theirs) != 0 || ::stat("/", &ours) != 0)
    throw_errno("look at the root directory");
  if (path == "/" && theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino) return path;
  throw Error(
      fmt::format("the program has another root directory ({}); run ckptrun inside it instead", path));
}

std::uint32_t read_personality(pid_t pid) {
  std::string text = without_newline(read_file(fmt::format("/proc/{}/personality", pid)));
  auto value = parse_unsigned(text, 16);
  if (!value) throw Error(fmt::format("personality of process {} is '{}', a number was expected", pid, text));
  return static_cast<std::uint32_t>(*value);
}

void join_session(const image::ProcessT& process) {
  lead_session(process);
  if (process.session != process.pid && process.process_group == process.pid && ::setpgid(0, 0) != 0)
    throw_errno("start a new process group");
}

// Lowering it below what the session began with takes a privilege; verify_attributes() tells the user.
void try_oom_score_adj(std::int32_t value) {
  if (read_oom_score_adj("self") == value) return;
  int error = write_own("oom_score_adj", fmt::format("{}", value));
  if (error != 0 && error != EACCES) throw_errno("write oom_score_adj", error);
}

}  // namespace

void save_attributes(pid_t pid, const ProcStatus& status, RemoteQueries& queries, image::ProcessT& process) {
  process.pid = status.innermost("NSpid");
  process.process_group = status.innermost("NSpgid");
  process.session = status.innermost("NSsid");
  process.executable = program_file(pid);
  process.working_directory = working_directory(pid);
  process.root_directory = root_directory(pid);
  process.umask = static_cast<std::uint32_t>(status.number("Umask", 8));
  process.personality = read_personality(pid);
  queries.expect("read the dumpable flag", SYS_prctl, {PR_GET_DUMPABLE, 0, 0, 0, 0},
                 [&process](std::int64_t flag) { process.dumpable = static_cast<std::int32_t>(flag); });
  queries.fetch<std::int32_t>("read the subreaper flag", SYS_prctl,
                              {PR_GET_CHILD_SUBREAPER, kAnswer, 0, 0, 0},
                              [&process](std::int32_t flag) { process.child_subreaper = flag != 0; });
  process.no_new_privileges = status.number("NoNewPrivs", 10) != 0;
  process.oom_score_adj = read_oom_score_adj(fmt::format("{}", pid));
  process.coredump_filter = read_coredump_filter(fmt::format("{}", pid));
  queries.ask(SYS_prctl, {kernel::kGetDenyWriteExecute, 0, 0, 0, 0}, [&process](std::int64_t told) {
    process.deny_write_execute = told > 0 ? static_cast<std::uint32_t>(told) : 0;
  });
}

void check_attributes(const image::ProcessT& process) {
  struct stat info {};
  const std::string& directory = process.working_directory;
  if (::stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    throw Error(fmt::format("the working directory {} is missing; create it again", directory), ENOENT);
  }
  if (process.root_directory != "/") {
    throw Error(fmt::format("the program had root directory {}; recover inside it", process.root_directory));
  }
  refuse_privileged_file(process.executable, process.executable);
}

// Among relatives it has to come before the process makes its children, which belong to it.
void lead_session(const image::ProcessT& process) {
  if (process.session == process.pid && ::getsid(0) != ::getpid() && ::setsid() < 0)
    throw_errno("start a new session");
}

void apply_attributes(const image::ProcessT& process) {
  join_session(process);
  if (::chdir(process.working_directory.c_str()) != 0) {
    throw_errno(fmt::format("enter working directory {}", process.working_directory));
  }
  ::umask(static_cast<mode_t>(process.umask));
  if (::personality(process.personality) < 0) throw_errno("set personality");
  try_oom_score_adj(process.oom_score_adj);
  write_coredump_filter(process.coredump_filter);
  bool huge_pages_off = process.layout && process.layout->thp_disabled;
  if (::prctl(PR_SET_THP_DISABLE, huge_pages_off ? 1 : 0, 0, 0, 0) != 0) throw_errno("set use of huge pages");
  // Here and not in the plan: all threads are to inherit it.
  if (process.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    throw_errno("set no_new_privs");
}

void plan_attributes(const image::ProcessT& process, PlanBuilder& plan) {
  if (process.child_subreaper) {
    plan.expect("become child subreaper", SYS_prctl, {PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0}, 0);
  }
  if (process.deny_write_execute != 0) {
    plan.expect("deny memory that is written and executed", SYS_prctl,
                {kernel::kSetDenyWriteExecute, process.deny_write_execute, 0, 0, 0}, 0);
  }
  // 2 is for the kernel to set, and keeps out as many as 0 does.
  std::uint64_t dumpable = process.dumpable == 1 ? 1 : 0;
  plan.expect("dumpable flag", SYS_prctl, {PR_SET_DUMPABLE, dumpable, 0, 0, 0}, 0);
}

void verify_attributes(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes) {
  std::int32_t now = read_oom_score_adj(fmt::format("{}", pid));
  if (now == process.oom_score_adj) return;
  notes.push_back(fmt::format("oom_score_adj is {} instead of {}, all that this session may give", now,
                              process.oom_score_adj));
}

}  // namespace ckpt::engine
