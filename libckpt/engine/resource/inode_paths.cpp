#include "engine/resource/inode_paths.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>

#include "base/file_io.h"
#include "base/unique_fd.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::size_t kMostNames = 200'000;  // looked at in one search, a fraction of a second

constexpr std::size_t kHandleRoom = sizeof(file_handle) + MAX_HANDLE_SZ;

// On some filesystems stat() tells another device than the kernel's own; their handles are the same.
bool has_handle(const std::string& path, const InodeName& name, int follow) {
  alignas(file_handle) std::array<std::byte, kHandleRoom> room{};
  auto* handle = reinterpret_cast<file_handle*>(room.data());
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id = 0;
  if (::name_to_handle_at(AT_FDCWD, path.c_str(), handle, &mount_id, follow) != 0) return false;
  return handle->handle_type == name.handle_type &&
         std::ranges::equal(std::span(room).subspan(sizeof(file_handle), handle->handle_bytes), name.handle);
}

// A watch may be one of a symbolic link itself.
bool leads_to(const std::string& path, const InodeName& name) {
  struct stat status {};
  auto same = [&](int follow) {
    return status.st_ino == name.inode && (status.st_dev == name.device || has_handle(path, name, follow));
  };
  return (::stat(path.c_str(), &status) == 0 && same(AT_SYMLINK_FOLLOW)) ||
         (::lstat(path.c_str(), &status) == 0 && same(0));
}

// Some directory of the filesystem, from /proc/self/mountinfo: "id parent major:minor root mount-point ...".
std::optional<std::string> mount_point_of(dev_t device) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string wanted = fmt::format("{}:{}", major(device), minor(device));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string id, parent, number, root, point;
    if (words >> id >> parent >> number >> root >> point && number == wanted) return point;
  }
  return std::nullopt;
}

std::string path_by_handle(const InodeName& name) {
  std::optional<std::string> mount_point = mount_point_of(name.device);
  if (!mount_point || name.handle.empty() || name.handle.size() > MAX_HANDLE_SZ) return {};
  UniqueFd mount(::open(mount_point->c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!mount) return {};
  alignas(file_handle) std::array<std::byte, kHandleRoom> room{};
  auto* handle = reinterpret_cast<file_handle*>(room.data());
  handle->handle_bytes = static_cast<unsigned>(name.handle.size());
  handle->handle_type = name.handle_type;
  std::memcpy(room.data() + sizeof(file_handle), name.handle.data(), name.handle.size());
  UniqueFd found(::open_by_handle_at(mount.get(), handle, O_PATH | O_CLOEXEC));
  if (!found) return {};
  std::string path = read_link(fmt::format("/proc/self/fd/{}", found.get()));
  return leads_to(path, name) ? path : std::string();
}

// Everything not found yet, and the search for it.
class Search {
 public:
  Search(std::span<const InodeName> wanted, std::vector<std::string>& paths)
      : wanted_(wanted), paths_(paths) {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (paths[i].empty()) by_inode_.emplace(wanted[i].inode, i);
    }
  }

  bool done() const { return by_inode_.empty(); }

  void look_at(const std::string& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0) look_at(path, status.st_ino);
  }

  // Directories are visited in the order in which they were met: what is near the hints comes first.
  void look_below(const std::string& directory) {
    if (!visited_.insert(directory).second) return;
    std::deque<std::string> waiting{directory};
    while (!waiting.empty() && !done() && names_seen_ < kMostNames) {
      std::string next = std::move(waiting.front());
      waiting.pop_front();
      list(next, waiting);
    }
  }

 private:
  void look_at(const std::string& path, std::uint64_t inode) {
    auto [first, last] = by_inode_.equal_range(inode);
    while (first != last) {
      bool found = leads_to(path, wanted_[first->second]);
      if (found) paths_[first->second] = path;
      first = found ? by_inode_.erase(first) : std::next(first);
    }
  }

  void list(const std::string& directory, std::deque<std::string>& waiting) {
    std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(directory.c_str()), ::closedir);
    if (!entries) return;
    while (const dirent* entry = ::readdir(entries.get())) {
      std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      ++names_seen_;
      std::string path = directory == "/" ? fmt::format("/{}", name) : fmt::format("{}/{}", directory, name);
      look_at(path, entry->d_ino);
      bool enters = entry->d_type == DT_DIR && path != "/proc" && path != "/sys";
      if (!enters || !visited_.insert(path).second) continue;
      look_at(path);  // where something is mounted the directory lists another number
      waiting.push_back(std::move(path));
    }
  }

  std::span<const InodeName> wanted_;
  std::vector<std::string>& paths_;
  std::multimap<std::uint64_t, std::size_t> by_inode_;
  std::set<std::string> visited_;
  std::size_t names_seen_ = 0;
};

void search(std::span<const InodeName> wanted, std::span<const std::string> hints,
            std::vector<std::string>& paths) {
  Search search(wanted, paths);
  std::vector<std::string> directories;
  for (const std::string& hint : hints) {
    search.look_at(hint);
    std::string parent = std::filesystem::path(hint).parent_path();
    search.look_at(parent);
    std::error_code ignored;
    directories.push_back(std::filesystem::is_directory(hint, ignored) ? hint : parent);
  }
  std::erase(directories, "/");  // all the rest comes last
  directories.insert(directories.end(), {"/tmp", "/home", "/"});
  for (const std::string& directory : directories) search.look_below(directory);
}

}  // namespace

dev_t parse_device(std::uint64_t number) {
  return makedev(static_cast<unsigned>(number >> 20U), static_cast<unsigned>(number & 0xfffffU));
}

std::vector<std::string> find_paths(std::span<const InodeName> wanted, std::span<const std::string> hints) {
  // The answer seldom changes from one checkpoint to the next, and every answer is checked.
  static std::map<std::pair<dev_t, std::uint64_t>, std::string> known;
  std::vector<std::string> paths;
  for (const InodeName& name : wanted) {
    auto found = known.find({name.device, name.inode});
    bool holds = found != known.end() && leads_to(found->second, name);
    paths.push_back(holds ? found->second : path_by_handle(name));
  }
  if (std::ranges::find(paths, std::string()) != paths.end()) search(wanted, hints, paths);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (!paths[i].empty()) known[{wanted[i].device, wanted[i].inode}] = paths[i];
  }
  return paths;
}

}  // namespace ckpt::engine::resource
