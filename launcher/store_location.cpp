#include "launcher/store_location.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"

namespace ckpt::launcher {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::string home_directory() {
  if (auto home = variable("HOME")) return *home;
  const passwd* user = ::getpwuid(::geteuid());  // before any thread is made
  if (user == nullptr)
    throw Error("no home directory is known for this user; give --store DIR or set CKPT_STORE");
  return user->pw_dir;
}

std::string default_location() {
  if (auto state = variable("XDG_STATE_HOME")) return fmt::format("{}/ckpt", *state);
  return fmt::format("{}/.local/state/ckpt", home_directory());
}

void make_parents(const std::filesystem::path& path) {
  std::filesystem::path parent = path.parent_path();
  if (parent == path || std::filesystem::exists(parent)) return;
  make_parents(parent);
  if (::mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST) {
    throw_errno(fmt::format("create {}; give another --store DIR", parent.string()));
  }
}

}  // namespace

std::string store_path(const std::optional<std::string>& given) {
  std::string path = given ? *given : variable("CKPT_STORE").value_or("");
  if (given && given->empty()) throw Error("--store is empty; give a directory");
  if (path.empty()) path = default_location();
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) throw_errno(fmt::format("find {}", path), error.value());
  return absolute.string();
}

store::Store open_store_for_run(const std::optional<std::string>& given) {
  std::string path = store_path(given);
  if (!given && !variable("CKPT_STORE")) make_parents(path);
  return store::Store::open(path, true);
}

store::Store open_existing_store(const std::optional<std::string>& given) {
  return store::Store::open(store_path(given), false);
}

}  // namespace ckpt::launcher
