#include "engine/restore/changed_files.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <vector>

#include "base/list_text.h"
#include "engine/capture/file_identity.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kMostNames = 3;

// What became of the file; empty if it is as it was, or gone, which others refuse.
std::string change_of(const image::RegularFileDetailT& file) {
  struct stat now {};
  if (::stat(file.path.c_str(), &now) != 0) return {};
  auto size = static_cast<std::uint64_t>(now.st_size);
  if (size != file.size) return fmt::format("{} bytes then, {} now", file.size, size);
  return modification_time_ns(now) != file.mtime_ns ? "written or replaced" : std::string();
}

bool was_put_back(const image::ProcessT& process, const std::string& path) {
  return std::ranges::any_of(process.written_files, [&path](const auto& file) { return file->path == path; });
}

}  // namespace

std::string changed_files_note(const image::ProcessT& process, bool rolled_back) {
  std::map<std::string, std::string> changes;  // by path: several descriptions may be of one file
  for (const auto& description : process.descriptions) {
    const image::RegularFileDetailT* file = description->detail.AsRegularFileDetail();
    if (file == nullptr || file->object >= 0 || (rolled_back && was_put_back(process, file->path))) continue;
    if (std::string change = change_of(*file); !change.empty()) changes[file->path] = change;
  }
  if (changes.empty()) return {};
  std::vector<std::string> named;
  for (const auto& [path, change] : changes) named.push_back(fmt::format("{} ({})", path, change));
  return fmt::format("files that the program has open changed since the checkpoint, and stay as they are: {}",
                     list_some(named, kMostNames));
}

}  // namespace ckpt::engine
