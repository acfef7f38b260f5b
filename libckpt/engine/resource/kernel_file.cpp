// Files and directories of /proc, /sys and the like: opened again by path, with the program's own id replaced
// by "self". Views of the program's memory and files of its threads are opened last, by the program itself.
#include "engine/resource/kernel_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/finishing.h"
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

bool is_bound_to_memory(std::string_view path) {
  return std::ranges::find(kBoundToMemory, path.substr(path.rfind('/') + 1)) != kBoundToMemory.end();
}

// The number in front of `rest`, which is cut off; none if there is none.
std::optional<std::int32_t> take_id(std::string_view& rest) {
  std::size_t end = std::min(rest.find('/'), rest.size());
  auto id = parse_unsigned(rest.substr(0, end));
  if (!id) return std::nullopt;
  rest.remove_prefix(end);
  return static_cast<std::int32_t>(*id);
}

// "/task/123/stat" -> thread 123 and "/stat".
void take_thread(std::string_view rest, image::KernelFileDetailT& detail) {
  constexpr std::string_view kTask = "/task/";
  detail.path = rest;
  if (!rest.starts_with(kTask)) return;
  rest.remove_prefix(kTask.size());
  std::optional<std::int32_t> id = take_id(rest);
  if (!id) return;
  detail.late = true;
  detail.thread = innermost_id(*id);
  detail.path = rest;
}

// "/proc/123/fd" -> "/proc/self/fd" for the program's own id; the files of other processes do not come back.
void describe_path(const SaveState& state, const OpenDescription& description,
                   image::KernelFileDetailT& detail) {
  constexpr std::string_view kProc = "/proc/";
  std::string_view rest = description.link;
  detail.path = description.link;
  if (!rest.starts_with(kProc)) return;
  rest.remove_prefix(kProc.size());
  std::optional<std::int32_t> id = take_id(rest);
  if (!id) return;
  if (*id != state.context.pid && *id != state.program_pid) {
    refuse(description, "a file of another process, whose id will be another");
  }
  take_thread(rest, detail);
  // Whoever makes the descriptors is the program itself, and none of its relatives.
  detail.late = detail.late || is_bound_to_memory(rest) || state.context.pid != state.together.program;
  if (detail.thread == 0) detail.path = "/proc/self" + detail.path;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::KernelFileDetailT detail;
  describe_path(state, description, detail);
  struct stat named {};
  if (::stat(description.link.c_str(), &named) != 0) refuse(description, "which has no path any more");
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT& description) {
  const image::KernelFileDetailT& detail = *description.detail.AsKernelFileDetail();
  return detail.late ? std::string() : access_problem(detail.path, description);
}

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  const image::KernelFileDetailT& detail = *description.detail.AsKernelFileDetail();
  if (detail.late) return open_or_throw("/proc/self/stat", O_RDONLY);  // holds the numbers
  UniqueFd fd = open_again(detail.path, description);
  seek_to_saved_offset(fd.get(), description, detail.path);
  return fd;
}

void finish(FinishState& state, const image::DescriptionT& description,
            const std::vector<const image::DescriptorT*>& numbers) {
  const image::KernelFileDetailT& detail = *description.detail.AsKernelFileDetail();
  if (!detail.late) return;
  std::string path = detail.path;
  if (detail.thread != 0)
    path = fmt::format("/proc/self/task/{}{}", state.program.proc_tid(detail.thread), path);
  RemoteAddr address = state.program.place(std::as_bytes(std::span(path.c_str(), path.size() + 1)));
  std::int64_t fd = call_or_throw(
      state.program, fmt::format("open {} again", path), SYS_openat,
      {static_cast<std::uint64_t>(AT_FDCWD), address.value, reopen_flags(description) | O_CLOEXEC});
  if ((description.status_flags & O_PATH) == 0 && description.offset != 0) {
    call_or_throw(state.program, fmt::format("seek in {}", path), SYS_lseek,
                  {static_cast<std::uint64_t>(fd), static_cast<std::uint64_t>(description.offset), SEEK_SET});
  }
  put_at_numbers(state.program, fd, numbers);
}

}  // namespace

const ResourceKind kKernelFile{"kernel file",
                               image::DescriptionDetail::KernelFileDetail,
                               kAllSettableFlags,
                               matches,
                               save,
                               check,
                               restore,
                               nullptr,
                               finish};

}  // namespace ckpt::engine::resource
