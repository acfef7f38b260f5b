#include "engine/capture/memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <system_error>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/agent_tables.h"
#include "engine/capture/file_access.h"
#include "engine/capture/resident_pages.h"
#include "engine/process/memory_promises.h"
#include "engine/resource/aio_contexts.h"
#include "engine/resource/io_ring.h"
#include "engine/resource/system_v.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kFileChunkBytes = 1 << 20;
constexpr std::uint64_t kLargeMappingBytes = 4 << 20;
constexpr std::uint64_t kStoredFileLimit = 64 << 20;
constexpr std::string_view kDeleted = " (deleted)";

struct Advice {
  const char* code;  // in VmFlags
  std::uint32_t advice;
};

constexpr std::array<Advice, 8> kAdvices{{{"sr", MADV_SEQUENTIAL},
                                          {"rr", MADV_RANDOM},
                                          {"dc", MADV_DONTFORK},
                                          {"dd", MADV_DONTDUMP},
                                          {"hg", MADV_HUGEPAGE},
                                          {"nh", MADV_NOHUGEPAGE},
                                          {"mg", MADV_MERGEABLE},
                                          {"wf", MADV_WIPEONFORK}}};

// True if `path` still names the mapped file. The device in maps is the filesystem's own number, which stat()
// does not always report (btrfs, overlayfs), so the inode decides.
bool names_mapped_file(const MapEntry& entry, PathStatuses& paths) {
  const PathStatus& named = paths.of(entry.path);
  return named.error == 0 && named.status.st_ino == entry.inode && S_ISREG(named.status.st_mode);
}

// sem_open(3) makes a file under a passing name, maps it and links it to its own: the mapping knows only the
// first. Returns the mapping with the name that there is, if there is one.
std::optional<MapEntry> with_present_name(const MapEntry& entry, PathStatuses& paths) {
  constexpr std::string_view kSharedMemory = "/dev/shm/";
  if (!entry.path.starts_with(kSharedMemory) || !entry.path.ends_with(kDeleted)) return std::nullopt;
  std::error_code failure;
  std::filesystem::directory_iterator file(kSharedMemory, failure);
  for (; !failure && file != std::filesystem::directory_iterator(); file.increment(failure)) {
    MapEntry named = entry;
    named.path = file->path();
    if (names_mapped_file(named, paths)) return named;
  }
  return std::nullopt;
}

std::string without_deleted(const std::string& path) {
  return path.ends_with(kDeleted) ? path.substr(0, path.size() - kDeleted.size()) : path;
}

[[noreturn]] void refuse(const MapEntry& entry, std::string_view what, std::string_view advice) {
  throw Error(
      fmt::format("mapping at {:#x}-{:#x} ({}) is {}; {}", entry.start, entry.end, entry.path, what, advice));
}

// The descriptor that the mapping is of: without one nobody could map it again.
std::int32_t ring_of(const MapEntry& entry, const image::ProcessT& process) {
  std::int32_t description = resource::find_ring(process, entry.inode);
  if (description < 0)
    refuse(entry, "memory of an io_uring without a descriptor", "keep its descriptor open");
  return description;
}

PageFilter filter_of(const image::MappingT& mapping) {
  return mapping.kind == image::MappingKind::Anonymous ? PageFilter::kAnyContent : PageFilter::kPrivateCopy;
}

std::unique_ptr<image::MappingT> hole_in_place_of(const MapEntry& entry) {
  auto mapping = std::make_unique<image::MappingT>();
  mapping->start = entry.start;
  mapping->end = entry.end;
  mapping->protection = PROT_NONE;
  mapping->no_reserve = true;
  mapping->kind = image::MappingKind::Anonymous;
  return mapping;
}

}  // namespace

bool is_private_memory(const MapEntry& entry) {
  return !entry.shared && entry.path != "[vsyscall]" && entry.path != "[vdso]" &&
         !entry.path.starts_with("[vvar");
}

std::optional<PageFilter> private_content_filter(const MapEntry& entry, PathStatuses& paths) {
  if (!is_private_memory(entry)) return std::nullopt;
  return entry.inode != 0 && names_mapped_file(entry, paths) ? PageFilter::kPrivateCopy
                                                             : PageFilter::kAnyContent;
}

void add_private_tasks(const MapEntry& entry, const AddressRanges& pages, store::SpaceId space,
                       bool in_snapshot, PageTasks& tasks) {
  for (const AddressRange& range : pages) {
    tasks.push_back({.range = range,
                     .space = space,
                     .first_page = range.start / kPageSize,
                     .may_end_early = entry.inode != 0,
                     .in_snapshot = in_snapshot});
  }
}

MemoryCapture::MemoryCapture(Tracee& tracee, const MapFlagsTable& flags, FileIdentities& identities,
                             PathStatuses& paths, ObjectTable& objects, store::CheckpointWriter& writer,
                             WriteTracker* tracker, const PageNeeds& needs, PauseThreads* threads,
                             const AddressRanges& known_content)
    : tracee_(tracee),
      flags_(flags),
      identities_(identities),
      paths_(paths),
      objects_(objects),
      writer_(writer),
      tracker_(tracker),
      needs_(needs),
      known_content_(known_content),
      scanner_(tracee.pid(), ScanMethod::kFastest, threads) {}

// Also where the capture fails in the middle: what has been armed by then must not be forgotten.
MemoryCapture::~MemoryCapture() {
  if (tracker_ != nullptr) tracker_->owe(written_now_);
}

void MemoryCapture::describe(const std::vector<MapEntry>& maps, const KeptElsewhere& kept,
                             image::ProcessT& process) {
  space_ = process.space;
  process.executable_file = describe_executable(process.executable);
  for (const MapEntry& entry : maps) {
    if (kept.contains({entry.start, entry.end})) {
      process.mappings.push_back(hole_in_place_of(entry));
      continue;
    }
    std::unique_ptr<image::MappingT> mapping = describe(entry, process);
    if (mapping == nullptr) continue;
    bool is_private =
        mapping->kind == image::MappingKind::Anonymous || mapping->kind == image::MappingKind::PrivateFile;
    if (is_private) private_mappings_.push_back({&entry, mapping.get()});
    bool is_object = mapping->kind == image::MappingKind::SharedObject;
    if (is_object && std::ranges::count(objects_made_here_, mapping->object) != 0)
      plan_object_content(entry, objects_.at(mapping->object));
    process.mappings.push_back(std::move(mapping));
  }
  refuse_partial_segments(process);
  refuse_key_out_of_order(process);
  for (auto& file : process.mapped_files) {
    if (file->written) store_written_file(*file);
  }
}

// What is gone (an update has replaced it) need not be compared with anything: its mappings are kept whole.
std::unique_ptr<image::MappedFileT> MemoryCapture::describe_executable(const std::string& path) {
  const PathStatus& now = paths_.of(path);
  if (now.error != ENOENT) return identities_.describe(path, now);
  auto gone = std::make_unique<image::MappedFileT>();
  gone->path = path;
  return gone;
}

CapturedMemory MemoryCapture::find_pages() {
  for (std::span<const PrivateMapping> left(private_mappings_); !left.empty();) {
    std::span<const PrivateMapping> together = left.first(count_together(left));
    left = left.subspan(together.size());
    auto pages = scan_together(together);
    for (std::size_t i = 0; i < together.size(); ++i) {
      const auto& [entry, mapping] = together[i];
      plan_private_content(*entry, *mapping,
                           pages ? std::move((*pages)[i]) : scan(*entry, filter_of(*mapping)));
    }
  }
  return std::move(result_);
}

// How many of the first ones have nothing else mapped between them. A large one is scanned alone: faster
// where it is known, and by several threads.
std::size_t MemoryCapture::count_together(std::span<const PrivateMapping> mappings) {
  constexpr std::uint64_t kLarge = 1 << 20;
  auto is_alone = [](const PrivateMapping& one) {
    return one.mapping->kind == image::MappingKind::Anonymous && one.entry->size_bytes() >= kLarge;
  };
  if (is_alone(mappings.front())) return 1;
  std::size_t count = 1;
  while (count < mappings.size() && mappings[count].entry == mappings[count - 1].entry + 1 &&
         !is_alone(mappings[count]))
    ++count;
  return count;
}

std::optional<std::vector<ScannedPages>> MemoryCapture::scan_together(
    std::span<const PrivateMapping> mappings) {
  if (tracker_ == nullptr || mappings.size() == 1) return std::nullopt;
  std::vector<PageScanner::TrackedMapping> tracked;
  tracked.reserve(mappings.size());
  for (const auto& [entry, mapping] : mappings)
    tracked.push_back({.range = {entry->start, entry->end}, .filter = filter_of(*mapping)});
  auto pages = scanner_.scan_tracked_together(tracked, Arm::kYes);
  if (!pages) return std::nullopt;
  for (const ScannedPages& found : *pages) {
    for (const AddressRange& written : found.written) append(written_now_, written);
  }
  return pages;
}

// shmat(2) attaches whole segments only.
void MemoryCapture::refuse_partial_segments(const image::ProcessT& process) const {
  std::map<std::pair<std::int32_t, std::uint64_t>, std::uint64_t> attached;  // bytes, by object and start
  for (const auto& mapping : process.mappings) {
    bool segment = mapping->kind == image::MappingKind::SharedObject &&
                   objects_.at(mapping->object).kind == image::ObjectKind::SystemVSegment;
    if (segment)
      attached[{mapping->object, mapping->start - mapping->offset}] += mapping->end - mapping->start;
  }
  for (const auto& [where, bytes] : attached) {
    const image::SharedObjectT& object = objects_.at(where.first);
    if (bytes == page_ceil(object.size)) continue;
    throw Error(fmt::format("{} is attached at {:#x} in part; attach all of it, or detach it (shmdt)",
                            object.name, where.second));
  }
}

std::unique_ptr<image::MappingT> MemoryCapture::describe(const MapEntry& entry, image::ProcessT& process) {
  if (entry.path == "[vsyscall]") return nullptr;
  auto mapping = std::make_unique<image::MappingT>();
  mapping->start = entry.start;
  mapping->end = entry.end;
  mapping->protection = entry.protection;
  mapping->offset = entry.offset;
  mapping->name = entry.path;
  if (entry.path.starts_with("[vvar")) {
    mapping->kind = image::MappingKind::Vvar;
    return mapping;
  }
  if (entry.path == "[vdso]") {
    mapping->kind = image::MappingKind::Vdso;
    return mapping;
  }
  const MapFlags& flags = flags_.of(entry);
  if (flags.has("ht")) refuse(entry, "huge-page (hugetlb) memory", "run the program without it");
  if (flags.has("pf") || flags.has("io"))
    refuse(entry, "device memory", "close the device before the checkpoint");
  mapping->grows_down = flags.has("gd");
  mapping->no_reserve = flags.has("nr");
  mapping->locked = flags.has("lo");
  mapping->sealed = flags.has("sl");
  mapping->protection_key = flags.protection_key;
  for (const Advice& advice : kAdvices) {
    if (flags.has(advice.code)) mapping->advice.push_back(advice.advice);
  }
  if (entry.shared) {
    mapping->may_write = flags.has("mw");
    describe_shared(entry, process, *mapping);
    bool made_last =
        mapping->kind == image::MappingKind::RingMemory || mapping->kind == image::MappingKind::AioRing;
    if (made_last) {
      mapping->sealed = false;
      mapping->protection_key = 0;
    }
  } else if (entry.inode != 0) {
    describe_private_file(entry, process, *mapping);
  } else {
    mapping->kind = image::MappingKind::Anonymous;
  }
  return mapping;
}

void MemoryCapture::describe_private_file(const MapEntry& entry, image::ProcessT& process,
                                          image::MappingT& mapping) {
  if (names_mapped_file(entry, paths_)) {
    mapping.kind = image::MappingKind::PrivateFile;
    mapping.file = mapped_file(entry, process, false);
    return;
  }
  mapping.object = is_named_as_agent_table(entry) && !entry.shared ? shared_object(entry)
                                                                   : objects_.find(entry.device, entry.inode);
  // Without an object that keeps the file's content, the mapping is written whole and comes back as plain
  // memory.
  mapping.kind = mapping.object >= 0 ? image::MappingKind::PrivateFile : image::MappingKind::Anonymous;
  if (mapping.object < 0) mapping.offset = 0;
}

void MemoryCapture::describe_shared(const MapEntry& entry, image::ProcessT& process,
                                    image::MappingT& mapping) {
  if (entry.path.starts_with("/SYSV")) {
    mapping.kind = image::MappingKind::SharedObject;
    mapping.object = attached_segment(entry);
    return;
  }
  if (entry.path == "anon_inode:[io_uring]") {
    mapping.kind = image::MappingKind::RingMemory;
    mapping.description = ring_of(entry, process);
    return;
  }
  if (entry.path == kAioRingPath) {
    mapping.kind = image::MappingKind::AioRing;
    return;
  }
  if (entry.path.starts_with("socket:")) {
    refuse(entry, "memory that a socket shares with the kernel", "close the socket before the checkpoint");
  }
  if (entry.path.starts_with("anon_inode:") || entry.path.starts_with("/[")) {
    refuse(entry, "kernel memory of a special descriptor", "close it before the checkpoint");
  }
  if (entry.path.starts_with("/dev/") && !entry.path.starts_with("/dev/shm/") &&
      !entry.path.ends_with(kDeleted)) {
    refuse(entry, "a mapped device", "close the device before the checkpoint");
  }
  if (flags_.of(entry).has("lo") && entry.path.starts_with("/secretmem")) {
    refuse(entry, "secret memory, which nobody else may read", "unmap it before the checkpoint");
  }
  std::optional<MapEntry> renamed = with_present_name(entry, paths_);
  const MapEntry& file = renamed ? *renamed : entry;
  if (renamed || names_mapped_file(entry, paths_)) {
    mapping.kind = image::MappingKind::SharedFile;
    mapping.file = mapped_file(file, process, mapping.may_write);
    mapping.name = file.path;
    return;
  }
  mapping.kind = image::MappingKind::SharedObject;
  mapping.object = shared_object(entry);
}

// The inode of an attached segment is its id.
std::int32_t MemoryCapture::attached_segment(const MapEntry& entry) {
  std::int32_t index = objects_.find(kSegmentDevice, entry.inode);
  if (index >= 0) return index;
  index = objects_.add(describe_segment(static_cast<std::int32_t>(entry.inode)));
  objects_made_here_.push_back(index);
  return index;
}

std::int32_t MemoryCapture::mapped_file(const MapEntry& entry, image::ProcessT& process, bool written) {
  auto& files = process.mapped_files;
  auto found = std::ranges::find_if(
      files, [&entry](const auto& file) { return file->inode == entry.inode && file->path == entry.path; });
  if (found == files.end()) {
    files.push_back(identities_.describe(entry.path, paths_.of(entry.path)));
    found = files.end() - 1;
  }
  (*found)->written |= written;
  return static_cast<std::int32_t>(found - files.begin());
}

// Content of a writable shared file, so that it can be made again if it is gone when the program comes back.
void MemoryCapture::store_written_file(image::MappedFileT& file) {
  if (file.size > kStoredFileLimit) return;
  UniqueFd fd = open_or_throw(file.path, O_RDONLY);
  file.content_space = objects_.fresh_space();
  file.access = access_to(file.path);
  file.directory_access = access_to(std::filesystem::path(file.path).parent_path());
  std::vector<std::byte> buffer(kFileChunkBytes);
  std::uint64_t at = 0;
  for (;;) {
    ssize_t got = ::pread(fd.get(), buffer.data(), buffer.size(), static_cast<off_t>(at));
    if (got < 0) throw_errno(fmt::format("read mapped file {}", file.path));
    if (got == 0) break;
    std::size_t padded = page_ceil(static_cast<std::uint64_t>(got));
    std::fill(buffer.begin() + got, buffer.begin() + static_cast<std::ptrdiff_t>(padded), std::byte{0});
    writer_.put(file.content_space, at / kPageSize, std::span(buffer).first(padded));
    at += static_cast<std::uint64_t>(got);
    if (static_cast<std::size_t>(got) < buffer.size()) break;
  }
  file.size = at;
}

std::int32_t MemoryCapture::shared_object(const MapEntry& entry) {
  std::int32_t index = objects_.find(entry.device, entry.inode);
  if (index >= 0) {
    image::SharedObjectT& known = objects_.at(index);
    if (std::ranges::count(objects_made_here_, index) != 0) {
      known.size = std::max(known.size, entry.offset + entry.size_bytes());
    }
    return index;
  }
  auto object = std::make_unique<image::SharedObjectT>();
  object->device = entry.device;
  object->inode = entry.inode;
  object->size = entry.offset + entry.size_bytes();
  object->mode = 0600;
  constexpr std::string_view kMemfdPrefix = "/memfd:";
  if (entry.path == "/dev/zero (deleted)") {
    object->kind = image::ObjectKind::SharedAnonymous;
  } else if (entry.path.starts_with(kMemfdPrefix)) {
    object->kind = image::ObjectKind::Memfd;
    object->name = without_deleted(entry.path.substr(kMemfdPrefix.size()));
  } else {
    object->kind = image::ObjectKind::DeletedFile;
    object->name = without_deleted(entry.path);
  }
  index = objects_.add(std::move(object));
  objects_made_here_.push_back(index);
  return index;
}

void MemoryCapture::plan_private_content(const MapEntry& entry, image::MappingT& mapping,
                                         ScannedPages pages) {
  bool anonymous = mapping.kind == image::MappingKind::Anonymous;
  AddressRange all{entry.start, entry.end};
  for (const AddressRange& guard : pages.guards) mapping.guards.emplace_back(guard.start, guard.end);
  // What a replaced or deleted file holds is not in the page table until it is touched: take all of it.
  if (anonymous && entry.inode != 0) pages.content = pages.written = {all};
  if (!anonymous && is_carried_whole(entry.path)) take_whole(entry, pages);
  needs_.leave_out_excluded(pages, all);
  AddressRanges wanted = needs_.of(pages, all);
  const MapFlags& flags = flags_.of(entry);
  bool in_snapshot = !flags.has("dc") && !flags.has("wf");
  add_private_tasks(entry, wanted, space_, in_snapshot, result_.tasks);
  for (const AddressRange& range : pages.content) {
    count(range);
    result_.present.push_back(run_of(range));
  }
  if (wanted.empty() && in_snapshot && total_bytes(pages.content) >= kLargeMappingBytes)
    result_.quiet.push_back(all);
}

// Once; from then on what the process writes to it.
void MemoryCapture::take_whole(const MapEntry& entry, ScannedPages& pages) {
  AddressRange all{entry.start, entry.end};
  CarriedMapping carried{.range = all, .device = entry.device, .inode = entry.inode, .offset = entry.offset};
  pages.content = {all};
  if (std::ranges::count(needs_.carried, carried) == 0) pages.written = {all};
  result_.carried.push_back(carried);
}

void MemoryCapture::plan_object_content(const MapEntry& entry, const image::SharedObjectT& object) {
  for (const AddressRange& range : resident_object_pages(tracee_, entry, flags_.of(entry))) {
    count(range);
    result_.tasks.push_back({.range = range,
                             .space = object.space,
                             .first_page = (entry.offset + (range.start - entry.start)) / kPageSize,
                             .may_end_early = entry.inode != 0,
                             .in_snapshot = false});
  }
}

void MemoryCapture::count(AddressRange range) {
  result_.pages_scanned += range.size_bytes() / kPageSize;
  result_.resident_bytes += range.size_bytes();
}

// A mapping that is new, or lost its registration, is tracked from now on.
ScannedPages MemoryCapture::scan(const MapEntry& entry, PageFilter filter) {
  AddressRange range{entry.start, entry.end};
  if (tracker_ != nullptr) {
    static const AddressRanges kNothing;
    const AddressRanges& known = entry.inode == 0 ? known_content_ : kNothing;
    std::optional<ScannedPages> pages = scanner_.scan_tracked(range, filter, Arm::kYes, known);
    if (!pages && tracker_->register_mapping(range)) pages = scanner_.scan_tracked(range, filter, Arm::kYes);
    if (pages) {
      for (const AddressRange& written : pages->written) append(written_now_, written);
      return *std::move(pages);
    }
  }
  ScannedPages pages = scanner_.scan_all(range, filter);
  pages.written = pages.content;
  return pages;
}

}  // namespace ckpt::engine
