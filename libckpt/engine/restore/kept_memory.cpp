#include "engine/restore/kept_memory.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

using image::MappingKind;

bool outlives_fork(const image::MappingT& mapping) {
  auto advised = [&](int advice) {
    return std::ranges::count(mapping.advice, static_cast<std::uint32_t>(advice)) != 0;
  };
  return !advised(MADV_DONTFORK) && !advised(MADV_WIPEONFORK);
}

bool is_same_file(const image::ProcessT& parent, const image::MappingT& theirs, const image::ProcessT& child,
                  const image::MappingT& own) {
  if (theirs.file < 0 || own.file < 0) return theirs.file == own.file;
  const image::MappedFileT& one = *parent.mapped_files.at(static_cast<std::size_t>(theirs.file));
  const image::MappedFileT& other = *child.mapped_files.at(static_cast<std::size_t>(own.file));
  return one.path == other.path && one.device == other.device && one.inode == other.inode;
}

bool is_alike(const image::MappingT& one, const image::MappingT& other) {
  return one.kind == other.kind && one.protection == other.protection && one.grows_down == other.grows_down &&
         one.no_reserve == other.no_reserve && one.object == other.object &&
         one.may_write == other.may_write && one.advice == other.advice;
}

// Those of files and objects, and a stack, only as a whole.
bool is_where(const image::MappingT& theirs, const image::MappingT& own) {
  if (own.kind == MappingKind::Anonymous && !own.grows_down)
    return theirs.start <= own.start && own.end <= theirs.end;
  return theirs.start == own.start && own.end == theirs.end && theirs.offset == own.offset;
}

bool can_be_kept(const image::MappingT& mapping) {
  switch (mapping.kind) {
    case MappingKind::Anonymous:
    case MappingKind::PrivateFile:
    case MappingKind::SharedFile:
    case MappingKind::SharedObject:
      return outlives_fork(mapping);
    default:
      return false;  // moved, or made by others
  }
}

}  // namespace

std::vector<bool> kept_mappings(const image::ProcessT& parent, const image::ProcessT& child) {
  std::vector<bool> kept;
  auto theirs = parent.mappings.begin();
  for (const auto& own : child.mappings) {
    while (theirs != parent.mappings.end() && (*theirs)->end <= own->start) ++theirs;
    kept.push_back(theirs != parent.mappings.end() && can_be_kept(*own) && is_alike(**theirs, *own) &&
                   is_where(**theirs, *own) && is_same_file(parent, **theirs, child, *own));
  }
  return kept;
}

AddressRanges kept_ranges(const image::ProcessT& child, const std::vector<bool>& kept) {
  AddressRanges ranges;
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i]) append(ranges, {child.mappings[i]->start, child.mappings[i]->end});
  }
  return ranges;
}

std::vector<store::StoredRun> subtract(std::span<const store::StoredRun> runs, const AddressRanges& ranges) {
  std::vector<store::StoredRun> rest;
  for (const store::StoredRun& run : runs) {
    for (const AddressRange& left : subtract({range_of(run.run)}, slice(ranges, range_of(run.run)))) {
      store::PageRun pages = run_of(left);
      rest.push_back(
          {.run = pages, .segment = run.segment, .unit = run.unit + (pages.first_page - run.run.first_page)});
    }
  }
  return rest;
}

}  // namespace ckpt::engine
