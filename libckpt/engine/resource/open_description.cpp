#include "engine/resource/open_description.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <memory>
#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/pidfd.h"
#include "engine/resource/fdinfo_lines.h"

namespace ckpt::engine::resource {
namespace {

int compare_descriptions(pid_t left_pid, int left, pid_t right_pid, int right) {
  long result = ::syscall(SYS_kcmp, left_pid, right_pid, KCMP_FILE, static_cast<unsigned long>(left),
                          static_cast<unsigned long>(right));
  if (result < 0) throw_errno(fmt::format("kcmp descriptor {} of process {} with {}", left, left_pid, right));
  return static_cast<int>(result);  // 0: same, 1: less, 2: greater, in the kernel's (shuffled) order
}

// /proc/PID/fd and fdinfo, kept open for the time of one pass.
class DescriptorDirectories {
 public:
  explicit DescriptorDirectories(pid_t pid)
      : pid_(pid),
        path_(fmt::format("/proc/{}/fd", pid)),
        links_(::opendir(path_.c_str()), ::closedir),
        infos_(open_or_throw(fmt::format("/proc/{}/fdinfo", pid), O_RDONLY | O_DIRECTORY)) {
    if (!links_) throw_errno(fmt::format("open {}", path_));
  }

  std::vector<int> numbers() {
    std::vector<int> numbers;
    for (;;) {
      errno = 0;
      dirent* entry = ::readdir(links_.get());
      if (entry == nullptr && errno != 0) throw_errno(fmt::format("read {}", path_));
      if (entry == nullptr) break;
      if (auto number = parse_unsigned(entry->d_name)) numbers.push_back(static_cast<int>(*number));
    }
    std::ranges::sort(numbers);
    return numbers;
  }

  OpenDescription inspect(int number) const {
    OpenDescription description;
    std::string name = fmt::format("{}", number);
    description.link = read_link_at(::dirfd(links_.get()), name);
    description.info = read_file_at(infos_.get(), name);
    if (::fstatat(::dirfd(links_.get()), name.c_str(), &description.status, 0) != 0)
      throw_errno(fmt::format("stat {}/{}", path_, name));
    auto flags = parse_unsigned(description.info_field("flags"), 8);
    auto offset = parse_unsigned(description.info_field("pos"));
    if (!flags) throw Error(fmt::format("the fdinfo of {}/{} has no flags", path_, number));
    description.flags = static_cast<int>(*flags & ~static_cast<std::uint64_t>(O_CLOEXEC));
    description.offset = static_cast<std::int64_t>(offset.value_or(0));
    OpenDescription::Number named{number, (*flags & O_CLOEXEC) != 0, pid_};
    for_each_line(description.info,
                  "lock:", [&](std::string_view line) { named.locks.append(line) += '\n'; });
    description.numbers.push_back(std::move(named));
    return description;
  }

 private:
  pid_t pid_;
  std::string path_;
  std::unique_ptr<DIR, int (*)(DIR*)> links_;
  UniqueFd infos_;
};

auto inode_key(const OpenDescription& description) {
  return std::tie(description.status.st_dev, description.status.st_ino, description.status.st_mode,
                  description.link);
}

int compare(const OpenDescription& left, const OpenDescription& right) {
  return compare_descriptions(left.holder(), left.number(), right.holder(), right.number());
}

}  // namespace

int OpenDescription::number_in(pid_t pid) const {
  auto found = std::ranges::find(numbers, pid, &Number::holder);
  return found == numbers.end() ? -1 : found->number;
}

int OpenDescription::access_mode() const { return (flags & O_PATH) != 0 ? -1 : flags & O_ACCMODE; }

std::string OpenDescription::what() const { return fmt::format("descriptor {} ({})", number(), link); }

std::string_view OpenDescription::info_field(std::string_view key) const { return status_field(info, key); }

// Only descriptors of the same inode can share a description, so that kcmp (two system calls' worth each) is
// needed within those groups only; its order makes that n log n for the many that share the anonymous inode.
std::vector<OpenDescription> list_descriptions(std::span<const pid_t> pids, const SideBySide& side_by_side) {
  std::vector<std::vector<OpenDescription>> by_process(pids.size());
  side_by_side(pids.size(), [&](std::size_t i) {
    DescriptorDirectories directories(pids[i]);
    for (int number : directories.numbers()) by_process[i].push_back(directories.inspect(number));
  });
  std::vector<OpenDescription> found;
  for (std::vector<OpenDescription>& of_one : by_process)
    std::ranges::move(of_one, std::back_inserter(found));
  std::ranges::stable_sort(found, [](const OpenDescription& left, const OpenDescription& right) {
    if (inode_key(left) != inode_key(right)) return inode_key(left) < inode_key(right);
    return compare(left, right) == 1;
  });
  std::vector<OpenDescription> merged;
  for (OpenDescription& next : found) {
    if (!merged.empty() && inode_key(merged.back()) == inode_key(next) && compare(merged.back(), next) == 0) {
      merged.back().numbers.push_back(std::move(next.numbers.front()));
    } else {
      merged.push_back(std::move(next));
    }
  }
  std::ranges::sort(merged, {}, [pids](const OpenDescription& description) {
    return std::pair(std::ranges::find(pids, description.holder()) - pids.begin(), description.number());
  });
  return merged;
}

OpenDescription inspect_descriptor(pid_t pid, int number) {
  return DescriptorDirectories(pid).inspect(number);
}

bool same_description(pid_t pid, int number, int own) {
  if (::fcntl(own, F_GETFD) < 0) return false;
  return compare_descriptions(pid, number, ::getpid(), own) == 0;
}

pid_t innermost_id(pid_t id, std::string_view kind) try {
  std::string status = read_file(fmt::format("/proc/{}/status", id));
  auto last = parse_unsigned(last_word(status_field(status, kind)));
  return static_cast<pid_t>(last.value_or(static_cast<std::uint64_t>(id)));
} catch (const Error& error) {
  if (error.code() == ENOENT || error.code() == ESRCH) return 0;
  throw;
}

UniqueFd copy_descriptor(const OpenDescription& description) {
  UniqueFd copy = copy_descriptor_of(description.holder(), description.number());
  if (!copy) throw_errno(fmt::format("copy descriptor {} of the program", description.number()));
  return copy;
}

}  // namespace ckpt::engine::resource
