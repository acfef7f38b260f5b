// Files and directories of /proc, /sys and the like: opened again by path, with the program's own id replaced
// by "self".
#include "engine/resource/kernel_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/error.h"
#include "base/parse.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::array<decltype(statfs::f_type), 6> kKernelFilesystems{
    PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC};

// Bound when opened to the address space that the process has then; the descriptors are made before the exec
// that replaces it.
constexpr std::array<std::string_view, 9> kBoundToMemory{
    "maps", "smaps", "smaps_rollup", "numa_maps", "mem", "pagemap", "auxv", "environ", "clear_refs"};

bool matches(const SaveState& state, const OpenDescription& description) {
  if (!S_ISREG(description.status.st_mode) && !S_ISDIR(description.status.st_mode)) return false;
  if (!description.link.starts_with('/')) return false;
  return std::ranges::find(kKernelFilesystems, state.filesystem_of(description)) != kKernelFilesystems.end();
}

[[noreturn]] void refuse(const OpenDescription& description, std::string_view why) {
  throw Error(fmt::format("descriptor {} is {}, {}; close it before the checkpoint", description.number(),
                          description.link, why));
}

// "/proc/123/fd" -> "/proc/self/fd" for the program's own id; the files of other processes do not come back.
std::string path_to_save(const SaveState& state, const OpenDescription& description) {
  constexpr std::string_view kProc = "/proc/";
  const std::string& link = description.link;
  if (!link.starts_with(kProc)) return link;
  std::size_t end = std::min(link.find('/', kProc.size()), link.size());
  auto id = parse_unsigned(std::string_view(link).substr(kProc.size(), end - kProc.size()));
  if (!id) return link;
  if (static_cast<pid_t>(*id) != state.context.pid && static_cast<pid_t>(*id) != state.program_pid) {
    refuse(description, "a file of another process, whose id will be another");
  }
  std::string rest = link.substr(end);
  std::string_view name = std::string_view(rest).substr(rest.rfind('/') + 1);
  if (rest.starts_with("/task/"))
    refuse(description, "a file of a thread, which cannot be opened before it exists");
  if (std::ranges::find(kBoundToMemory, name) != kBoundToMemory.end()) {
    refuse(description, "a view of the program's memory, which is made after its descriptors");
  }
  return "/proc/self" + rest;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::KernelFileDetailT detail;
  detail.path = path_to_save(state, description);
  struct stat named {};
  if (::stat(description.link.c_str(), &named) != 0) refuse(description, "which has no path any more");
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT& description) {
  return access_problem(description.detail.AsKernelFileDetail()->path, description);
}

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  const std::string& path = description.detail.AsKernelFileDetail()->path;
  UniqueFd fd = open_again(path, description);
  seek_to_saved_offset(fd.get(), description, path);
  return fd;
}

}  // namespace

const ResourceKind kKernelFile{
    "kernel file", image::DescriptionDetail::KernelFileDetail, kAllSettableFlags, matches, save, check,
    restore};

}  // namespace ckpt::engine::resource
