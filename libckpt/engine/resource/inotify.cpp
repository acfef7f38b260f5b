// Watches come back under their numbers, by path. What happened to the files meanwhile nobody saw, and events
// that waited to be read cannot be looked at without taking them: so the first that a restored program reads
// is IN_Q_OVERFLOW, which tells it to look for itself (inotify(7)).
#include "engine/resource/inotify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/fdinfo_lines.h"
#include "engine/resource/inode_paths.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

// linux/inotify.h cannot be included beside sys/inotify.h.
constexpr unsigned long kSetNextWatch = _IOW('I', 0, std::int32_t);  // takes the number itself
constexpr std::uint32_t kSettableMask = IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT;

struct Watch {
  int number = 0;
  std::uint32_t mask = 0;
  InodeName file;
};

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:inotify";
}

std::vector<std::byte> parse_bytes(std::string_view digits) {
  std::vector<std::byte> bytes;
  for (; digits.size() >= 2; digits.remove_prefix(2))
    bytes.push_back(static_cast<std::byte>(parse_unsigned(digits.substr(0, 2), 16).value_or(0)));
  return bytes;
}

// "inotify wd:1 ino:a7a4c3 sdev:fe00000 mask:2ff ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:c3.."
std::vector<Watch> parse_watches(const OpenDescription& description) {
  std::vector<Watch> watches;
  for_each_line(description.info, "inotify wd:", [&](std::string_view line) {
    auto number = value_after(line, " wd:", 16);
    auto inode = value_after(line, " ino:", 16);
    auto device = value_after(line, " sdev:", 16);
    auto mask = value_after(line, " mask:", 16);
    if (!number || !inode || !device || !mask) {
      throw Error(fmt::format("the kernel describes {} in an unknown way: {}", description.what(), line));
    }
    auto type = value_after(line, "fhandle-type:", 16);
    watches.push_back({.number = static_cast<int>(*number),
                       .mask = static_cast<std::uint32_t>(*mask) & kSettableMask,
                       .file = {.device = parse_device(*device),
                                .inode = *inode,
                                .handle_type = static_cast<int>(type.value_or(0)),
                                .handle = parse_bytes(word_after(line, "f_handle:"))}});
  });
  std::ranges::sort(watches, {}, &Watch::number);
  return watches;
}

// Paths that the program was told or has open.
std::vector<std::string> hints_of(const SaveState& state) {
  std::vector<std::string> hints{read_link(fmt::format("/proc/{}/cwd", state.context.pid))};
  for (const OpenDescription& other : state.all) {
    if (other.link.starts_with('/')) hints.push_back(other.link);
  }
  std::string words = read_file(fmt::format("/proc/{}/cmdline", state.context.pid)) +
                      read_file(fmt::format("/proc/{}/environ", state.context.pid));
  for (std::size_t start = 0; start < words.size();) {
    std::size_t end = std::min(words.find('\0', start), words.size());
    std::string word = words.substr(start, end - start);
    std::size_t slash = word.find('/');
    if (slash == 0 || (slash != std::string::npos && word[slash - 1] == '='))
      hints.push_back(word.substr(slash));
    start = end + 1;
  }
  return hints;
}

const OpenDescription* open_description_of(const SaveState& state, const InodeName& file) {
  auto found = std::ranges::find_if(state.all, [&](const OpenDescription& other) {
    return other.status.st_dev == file.device && other.status.st_ino == file.inode;
  });
  return found == state.all.end() ? nullptr : &*found;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  std::vector<Watch> watches = parse_watches(description);
  std::vector<InodeName> files;
  std::ranges::transform(watches, std::back_inserter(files), &Watch::file);
  std::vector<std::string> paths = find_paths(files, hints_of(state));
  image::InotifyDetailT detail;
  for (std::size_t i = 0; i < watches.size(); ++i) {
    auto saved = std::make_unique<image::InotifyWatchT>();
    saved->number = watches[i].number;
    saved->mask = watches[i].mask;
    saved->path = paths[i];
    if (paths[i].empty()) {
      const OpenDescription* open = open_description_of(state, watches[i].file);
      if (open == nullptr) {
        throw Error(
            fmt::format("descriptor {} (inotify) watches a file whose path cannot be found (inode {}, watch "
                        "{}); remove the "
                        "watch before the checkpoint, or run ckptrun with CAP_DAC_READ_SEARCH",
                        description.number(), watches[i].file.inode, watches[i].number));
      }
      saved->descriptor = open->number();
    }
    detail.watches.push_back(std::move(saved));
  }
  return as_detail(std::move(detail));
}

std::string check(CheckState& state, const image::DescriptionT& description) {
  for (const auto& watch : description.detail.AsInotifyDetail()->watches) {
    if (watch->path.empty() || ::access(watch->path.c_str(), R_OK) == 0 || state.notes == nullptr) continue;
    state.notes->push_back(fmt::format("{} is missing; the program no longer watches it", watch->path));
  }
  return {};
}

void skip_events(int fd, std::size_t count) {
  std::vector<inotify_event> room(std::min<std::size_t>(count, 4096));
  while (count > 0) {
    std::size_t part = std::min(count, room.size());
    ssize_t got = ::read(fd, room.data(), part * sizeof(inotify_event));
    if (got <= 0) throw_errno("read events of our own");
    count -= static_cast<std::size_t>(got) / sizeof(inotify_event);
  }
}

// Opening and closing are never merged into one event. All of them are taken out again, except the one that
// the kernel added because there was room for no more.
void make_overflow(int fd) {
  std::string text = read_file("/proc/sys/fs/inotify/max_queued_events");
  auto most =
      static_cast<std::size_t>(parse_unsigned(std::string_view(text).substr(0, text.find('\n'))).value_or(0));
  UniqueFd file(::memfd_create("events", MFD_CLOEXEC));
  if (!file) throw_errno("make a file to watch");
  std::string path = fmt::format("/proc/self/fd/{}", file.get());
  int watch = ::inotify_add_watch(fd, path.c_str(), IN_OPEN | IN_CLOSE);
  if (watch < 0) throw_errno("watch a file of our own");
  for (std::size_t i = 0; i <= most / 2; ++i) open_or_throw(path, O_RDONLY);
  if (::inotify_rm_watch(fd, watch) != 0) throw_errno("remove a watch of our own");
  skip_events(fd, most);
}

UniqueFd restore(RestoreState&, const image::DescriptionT&) {
  UniqueFd fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) throw_errno("make an inotify instance");
  make_overflow(fd.get());
  return fd;
}

// A path that is missing was told by check(): whoever reads the overflow looks for it anyway.
void connect(RestoreState&, const image::DescriptionT& description, int number) {
  std::int32_t next = 1;
  for (const auto& watch : description.detail.AsInotifyDetail()->watches) {
    std::string path = watch->path.empty() ? fmt::format("/proc/self/fd/{}", watch->descriptor) : watch->path;
    next = watch->number;
    if (::ioctl(number, kSetNextWatch, next) != 0) throw_errno("choose the number of a watch");
    int made = ::inotify_add_watch(number, path.c_str(), watch->mask);
    if (made < 0 && errno == ENOENT) continue;
    if (made < 0) throw_errno(fmt::format("watch {}", path));
    if (made != watch->number) {
      throw Error(
          fmt::format("the watch of {} has number {} instead of {}: {} leads to what is watched already",
                      path, made, watch->number, path));
    }
    ++next;
  }
  if (::ioctl(number, kSetNextWatch, next) != 0) throw_errno("choose the number of the next watch");
}

}  // namespace

const ResourceKind kInotify{"inotify",
                            image::DescriptionDetail::InotifyDetail,
                            kAllSettableFlags,
                            matches,
                            save,
                            check,
                            restore,
                            connect,
                            nullptr,
                            true};

}  // namespace ckpt::engine::resource
