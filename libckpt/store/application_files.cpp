#include "store/application_files.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "base/parse.h"
#include "store/manifest_reading.h"
#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

constexpr std::string_view kVisible = ".ckpt";
constexpr std::string_view kDead = ".dead";
constexpr std::string_view kUsed = ".used";
constexpr std::string_view kTemporary = ".tmp-";
constexpr std::string_view kTag = ".tag-";
constexpr const char* kLockFile = ".lock";

std::string name_of(Version version, std::string_view suffix) {
  return fmt::format("v{:010}{}", version, suffix);
}

// The version in a name like "v0000000007.ckpt"; only the one spelling that name_of writes is accepted.
std::optional<Version> version_in(std::string_view name, std::string_view suffix) {
  if (!name.starts_with('v') || !name.ends_with(suffix)) return std::nullopt;
  auto version = parse_unsigned(name.substr(1, name.size() - 1 - suffix.size()));
  if (!version || *version == 0 || name_of(*version, suffix) != name) return std::nullopt;
  return version;
}

std::optional<Tag> tag_in(std::string_view name) {
  std::size_t end = name.find(kTag);
  if (end == std::string_view::npos) return std::nullopt;
  end += kTag.size();
  auto version = version_in(name.substr(0, end), kTag);
  if (!version || end == name.size()) return std::nullopt;
  return Tag{.version = *version, .label = std::string(name.substr(end))};
}

// The byte of the lock file that stands for it.
off_t byte_of(ApplicationFiles::Lock kind) {
  switch (kind) {
    case ApplicationFiles::Lock::kWriter:
      return 0;
    case ApplicationFiles::Lock::kKeepDead:
    case ApplicationFiles::Lock::kRemoveDead:
      return 1;
    case ApplicationFiles::Lock::kTags:
      return 2;
  }
  return 0;
}

// Pages with equal content are stored once, but each has an entry of its own in a node.
void check_page_counts(const OpenVersion& open) {
  std::uint64_t left = 0;
  for (const auto& segment : open.segments->all()) left += segment->node_bytes() / sizeof(Reference);
  for (const SpaceRoot& space : open.manifest.spaces) {
    if (space.page_count > left)
      throw damaged(open.segment->path(), "it claims more pages than its page trees can name");
    left -= space.page_count;
  }
}

}  // namespace

std::string visible_name(Version version) { return name_of(version, kVisible); }
std::string dead_name(Version version) { return name_of(version, kDead); }
std::string used_name(Version version) { return name_of(version, kUsed); }
std::string tag_name(const Tag& tag) { return name_of(tag.version, kTag) + tag.label; }
std::string temporary_name(Version version) { return std::string(kTemporary) + name_of(version, ""); }

Version ApplicationListing::highest() const {
  Version highest = 0;
  for (const auto* versions : {&visible, &dead, &used}) {
    if (!versions->empty()) highest = std::max(highest, versions->back());
  }
  return highest;
}

ApplicationFiles::ApplicationFiles(UniqueFd directory, std::string path, std::string name)
    : directory_(std::move(directory)), path_(std::move(path)), name_(std::move(name)) {}

ApplicationListing ApplicationFiles::list() const {
  ApplicationListing listing;
  for (std::string& name : directory_entries(directory(), path_)) {
    if (name.starts_with(kTemporary)) {
      listing.temporary.push_back(std::move(name));
    } else if (auto visible = version_in(name, kVisible)) {
      listing.visible.push_back(*visible);
    } else if (auto dead = version_in(name, kDead)) {
      listing.dead.push_back(*dead);
    } else if (auto used = version_in(name, kUsed)) {
      listing.used.push_back(*used);
    } else if (auto tag = tag_in(name)) {
      listing.tags.push_back(std::move(*tag));
    }
  }
  std::ranges::sort(listing.tags, {}, [](const Tag& tag) { return std::pair(tag.version, tag.label); });
  for (auto* versions : {&listing.visible, &listing.dead, &listing.used}) std::ranges::sort(*versions);
  return listing;
}

UniqueFd ApplicationFiles::open_file(const std::string& file) const {
  // O_NONBLOCK: a FIFO under this name must not hold us up.
  UniqueFd fd(open_in(directory(), file, O_RDONLY | O_NONBLOCK));
  if (!fd && errno == ELOOP) throw damaged(path_of(file), "it is a symbolic link");
  if (!fd && errno != ENOENT) throw_errno(fmt::format("open {}", path_of(file)));
  return fd;
}

ApplicationFiles::OpenFile ApplicationFiles::open_needed(Version version) const {
  // In this order: a removal that happens meanwhile renames from visible to dead, never back.
  for (const std::string& file : {visible_name(version), dead_name(version)}) {
    OpenFile open{.fd = open_file(file), .path = path_of(file), .version = version};
    if (!open.fd) continue;
    // Footers are cold and many: they are all requested before the first is read. Advice may fail.
    struct stat status {};
    constexpr off_t kTail = kPageBytes;
    if (system_calls().fstat(open.fd.get(), &status) == 0 && status.st_size >= kTail)
      system_calls().fadvise(open.fd.get(), status.st_size - kTail, kTail, POSIX_FADV_WILLNEED);
    return open;
  }
  return {};
}

std::shared_ptr<const Segment> ApplicationFiles::open_visible(Version version) const {
  std::string file = visible_name(version);
  UniqueFd fd = open_file(file);
  if (!fd) return nullptr;
  return std::make_shared<const Segment>(std::move(fd), path_of(file), version);
}

OpenVersion ApplicationFiles::open_version(Version version) const {
  OpenVersion open{.segment = open_visible(version), .manifest = {}, .segments = nullptr};
  auto absent = [&] {
    return Error(fmt::format("application '{}' has no version {} in {}; ckpt list shows what there is", name_,
                             version, path_),
                 ENOENT);
  };
  if (!open.segment) throw absent();
  open.manifest = open.segment->read_manifest();
  std::vector<OpenFile> files;
  files.reserve(open.manifest.segments.size());
  for (const SegmentUse& use : open.manifest.segments) {
    if (use.segment == version) continue;
    files.push_back(open_needed(use.segment));
    if (!files.back().fd) {
      if (!is_visible(*open.segment)) throw absent();  // removed meanwhile, and then what it needed
      throw damaged(open.segment->path(),
                    fmt::format("the segment of version {} that it needs is missing", use.segment));
    }
  }
  std::vector<std::shared_ptr<const Segment>> segments;
  segments.reserve(files.size() + 1);
  for (OpenFile& file : files)
    segments.push_back(std::make_shared<const Segment>(std::move(file.fd), file.path, file.version));
  segments.push_back(open.segment);  // the last one in the list is the version itself
  open.segments = std::make_shared<const SegmentSet>(std::move(segments));
  check_page_counts(open);
  return open;
}

std::shared_ptr<const Segment> ApplicationFiles::open_published(const Footer& footer) const noexcept {
  try {
    std::string file = visible_name(footer.version);
    UniqueFd fd(open_in(directory(), file, O_RDONLY | O_NONBLOCK));
    if (!fd) return nullptr;
    return std::make_shared<const Segment>(std::move(fd), path_of(file), footer);
  } catch (const std::exception&) {
    return nullptr;
  }
}

bool ApplicationFiles::is_visible(const Segment& segment) const {
  struct stat status {};
  return system_calls().fstatat(directory(), visible_name(segment.version()).c_str(), &status,
                                AT_SYMLINK_NOFOLLOW) == 0 &&
         segment.is_file(status);
}

std::optional<UniqueFd> ApplicationFiles::lock(Lock kind) const {
  UniqueFd fd(open_in(directory(), kLockFile, O_RDWR | O_CREAT, 0600));
  if (!fd) throw write_error(fmt::format("open {}", path_of(kLockFile)), errno);
  struct flock range {};
  range.l_type = kind == Lock::kKeepDead ? F_RDLCK : F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = byte_of(kind);
  range.l_len = 1;
  bool waits = kind == Lock::kKeepDead || kind == Lock::kTags;
  int command = waits ? F_OFD_SETLKW : F_OFD_SETLK;
  for (;;) {
    if (system_calls().lock(fd.get(), command, &range) == 0) return fd;
    if (errno == EAGAIN || errno == EACCES) return std::nullopt;
    if (errno != EINTR) throw write_error(fmt::format("lock {}", path_of(kLockFile)), errno);
  }
}

std::vector<Version> ApplicationFiles::unreferenced(const std::vector<Version>& dead) const {
  std::vector<Version> garbage;
  if (dead.empty()) return garbage;
  std::set<Version> referenced;
  for (const ReadManifest& one : read_manifests(*this, list().visible)) {
    if (!one.manifest) return garbage;
    for (const SegmentUse& use : one.manifest->segments) referenced.insert(use.segment);
  }
  std::ranges::copy_if(dead, std::back_inserter(garbage),
                       [&](Version version) { return !referenced.contains(version); });
  return garbage;
}

void ApplicationFiles::unlink(const std::string& file) const {
  if (system_calls().unlinkat(directory(), file.c_str(), 0) != 0 && errno != ENOENT) {
    throw write_error(fmt::format("remove {}", path_of(file)), errno);
  }
}

void ApplicationFiles::sync() const { sync_directory(directory(), path_); }

ApplicationFiles files_of(const Application& application) {
  UniqueFd directory(::fcntl(application.directory(), F_DUPFD_CLOEXEC, 0));
  if (!directory) throw_errno(fmt::format("duplicate the descriptor of {}", application.path()));
  return {std::move(directory), application.path(), application.name()};
}

}  // namespace ckpt::store
