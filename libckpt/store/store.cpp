#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <string_view>

#include "store/application.h"
#include "store/checkpoint_store.h"
#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

// An application that is being removed gets a name that is not valid, so it disappears in one step.
constexpr std::string_view kRemoved = ".removed-";

bool is_valid_name(std::string_view name) {
  constexpr std::string_view kPunctuation = "._+-";
  auto allowed = [&](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           kPunctuation.find(c) != std::string_view::npos;
  };
  return !name.empty() && name.size() <= 200 && name[0] != '.' && name[0] != '-' &&
         std::ranges::all_of(name, allowed);
}

bool is_directory(int parent, const std::string& name) {
  struct stat status {};
  return system_calls().fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
         S_ISDIR(status.st_mode);
}

void make_directory(int parent, const std::string& name, const std::string& path) {
  if (system_calls().mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) {
    throw write_error(fmt::format("create directory {}", path), errno);
  }
}

void create_with_parents(const std::filesystem::path& path) {
  std::filesystem::path done;
  for (const auto& part : path) {
    done /= part;
    struct stat status {};
    if (system_calls().fstatat(AT_FDCWD, done.c_str(), &status, 0) == 0) continue;
    make_directory(AT_FDCWD, done.string(), done.string());
  }
}

void remove_tree(int parent, const std::string& name, const std::string& path) {
  UniqueFd directory(open_in(parent, name, O_RDONLY | O_DIRECTORY));
  if (!directory) throw write_error(fmt::format("open directory {}", path), errno);
  for (const std::string& entry : directory_entries(directory.get(), path)) {
    std::string entry_path = fmt::format("{}/{}", path, entry);
    if (is_directory(directory.get(), entry)) {
      remove_tree(directory.get(), entry, entry_path);
    } else if (system_calls().unlinkat(directory.get(), entry.c_str(), 0) != 0 && errno != ENOENT) {
      throw write_error(fmt::format("remove {}", entry_path), errno);
    }
  }
  if (system_calls().unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    throw write_error(fmt::format("remove directory {}", path), errno);
  }
}

}  // namespace

Store Store::open(const std::string& path, bool create) {
  Store store;
  // Absolute, since whoever uses the store may change its working directory.
  std::filesystem::path absolute = std::filesystem::absolute(path).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  store.path_ = absolute.string();
  if (create) create_with_parents(absolute);
  // The path to the store may lead through symbolic links; below it none is followed.
  store.directory_ =
      UniqueFd(system_calls().openat(AT_FDCWD, store.path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
  if (!store.directory_) {
    int code = errno;
    throw Error(
        fmt::format("cannot open store {}: {}; name another with --store", store.path_, describe_errno(code)),
        code);
  }
  struct stat status {};
  if (system_calls().fstat(store.directory_.get(), &status) != 0)
    throw_errno(fmt::format("fstat {}", store.path_));
  check_private(status, store.path_);
  return store;
}

std::vector<std::string> Store::applications() const {
  std::vector<std::string> names;
  for (std::string& name : directory_entries(directory_.get(), path_)) {
    if (is_valid_name(name) && is_directory(directory_.get(), name)) names.push_back(std::move(name));
  }
  std::ranges::sort(names);
  return names;
}

bool Store::contains(const std::string& name) const {
  return is_valid_name(name) && is_directory(directory_.get(), name);
}

std::unique_ptr<Application> Store::application(const std::string& name) const {
  check_name(name);
  std::string path = fmt::format("{}/{}", path_, name);
  struct stat status {};
  if (system_calls().fstatat(directory_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 &&
      errno == ENOENT) {
    throw Error(fmt::format("no application '{}' in store {}; ckpt list shows what there is", name, path_),
                ENOENT);
  }
  UniqueFd directory = open_private_directory(directory_.get(), name, path);
  return std::make_unique<ApplicationDirectory>(
      std::make_shared<const ApplicationFiles>(std::move(directory), path, name));
}

std::unique_ptr<Application> Store::create_application(const std::string& name) {
  check_name(name);
  make_directory(directory_.get(), name, fmt::format("{}/{}", path_, name));
  sync_directory(directory_.get(), path_);
  return application(name);
}

void Store::remove_application(const std::string& name) {
  application(name);  // throws if it is unknown or not ours
  std::string removed = fmt::format("{}{}-{}", kRemoved, ::getpid(), name);
  if (system_calls().renameat(directory_.get(), name.c_str(), directory_.get(), removed.c_str()) != 0) {
    throw write_error(fmt::format("remove {}/{}", path_, name), errno);
  }
  sync_directory(directory_.get(), path_);
  // Those of removals that were interrupted go too.
  for (const std::string& entry : directory_entries(directory_.get(), path_)) {
    if (entry.starts_with(kRemoved)) remove_tree(directory_.get(), entry, fmt::format("{}/{}", path_, entry));
  }
}

void Store::check_name(const std::string& name) {
  if (is_valid_name(name)) return;
  throw Error(fmt::format("'{}' is not a name for an application; use 1 to 200 of A-Z a-z 0-9 . _ + -, "
                          "not starting with '.' or '-'",
                          name),
              EINVAL);
}

}  // namespace ckpt::store
