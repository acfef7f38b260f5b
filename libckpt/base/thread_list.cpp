#include "base/thread_list.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt {
namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

// Links of a directory that are not subdirectories: its own name and ".".
constexpr std::size_t kOwnLinks = 2;

Directory open_tasks(pid_t pid) { return {::opendir(fmt::format("/proc/{}/task", pid).c_str()), ::closedir}; }

std::vector<pid_t> read_ids(DIR* directory) {
  std::vector<pid_t> ids;
  while (const dirent* entry = ::readdir(directory)) {
    if (auto id = parse_unsigned(entry->d_name)) ids.push_back(static_cast<pid_t>(*id));
  }
  return ids;
}

}  // namespace

ThreadList::ThreadList(pid_t pid) : directory_(open_tasks(pid)) {
  if (!directory_) throw_errno(fmt::format("list threads of process {}", pid));
}

std::vector<pid_t> ThreadList::ids() {
  ::rewinddir(directory_.get());
  return read_ids(directory_.get());
}

std::size_t ThreadList::count() const {
  struct stat status {};
  if (::fstat(descriptor(), &status) != 0 || status.st_nlink < kOwnLinks) return 0;
  return status.st_nlink - kOwnLinks;
}

int ThreadList::descriptor() const { return ::dirfd(directory_.get()); }

bool has_thread(pid_t pid, pid_t tid) {
  return ::access(fmt::format("/proc/{}/task/{}", pid, tid).c_str(), F_OK) == 0;
}

std::vector<pid_t> list_threads(pid_t pid) {
  Directory directory = open_tasks(pid);
  return directory ? read_ids(directory.get()) : std::vector<pid_t>();
}

}  // namespace ckpt
