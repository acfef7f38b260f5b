#include "engine/restore/memory_plan.h"

#include <fmt/format.h>
#include <linux/prctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/kernel_abi.h"
#include "engine/capture/address_ranges.h"
#include "engine/restore/kept_memory.h"

namespace ckpt::engine {
namespace {

constexpr std::uint64_t kNoDescriptor = ~0ULL;

std::uint64_t to_argument(int value) { return static_cast<std::uint64_t>(static_cast<std::int64_t>(value)); }

bool is_special(const MapEntry& entry) { return is_vdso_or_data(entry); }
bool is_special(const image::MappingT& mapping) {
  return mapping.kind == image::MappingKind::Vvar || mapping.kind == image::MappingKind::Vdso;
}

bool is_ours(const WorkArea& area, const MapEntry& entry) {
  return entry.start >= area.start.value && entry.end <= area.end().value;
}

// Made by those who make what they belong to, when the rest is in place.
bool is_made_later(const image::MappingT& mapping) {
  return mapping.kind == image::MappingKind::RingMemory || mapping.kind == image::MappingKind::AioRing;
}

std::string range_text(std::uint64_t start, std::uint64_t end, std::string_view name) {
  return fmt::format("{:x}-{:x} {}", start, end, name);
}

// Pages of the process space, to tell which mappings are going to be filled.
class FilledRanges {
 public:
  explicit FilledRanges(const MemoryPlanInput& input) : runs_(input.runs) {}

  bool touches(const image::MappingT& mapping) const {
    auto run = std::ranges::lower_bound(runs_, mapping.start / kPageSize, {}, [](const store::PageRun& r) {
      return r.first_page + r.page_count - 1;
    });
    return run != runs_.end() && run->first_page < mapping.end / kPageSize;
  }

 private:
  const std::vector<store::PageRun>& runs_;
};

void unmap_present(const MemoryPlanInput& input, bool keep_special, PlanBuilder& plan) {
  for (const MapEntry& entry : input.present) {
    if (entry.path == "[vsyscall]" || is_ours(input.area, entry) || (keep_special && is_special(entry)))
      continue;
    plan.expect("munmap " + range_text(entry.start, entry.end, entry.path), SYS_munmap,
                {entry.start, entry.end - entry.start}, 0);
  }
}

void move_mapping(std::uint64_t from, std::uint64_t to, std::uint64_t size, std::string_view name,
                  PlanBuilder& plan) {
  plan.expect("mremap " + range_text(from, from + size, name) + fmt::format(" to {:x}", to), SYS_mremap,
              {from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to}, static_cast<std::int64_t>(to));
}

// vvar and vDSO keep their order and distance (the vDSO's code finds the data that way).
void move_together(const std::vector<const MapEntry*>& present, std::uint64_t to, PlanBuilder& plan) {
  for (const MapEntry* entry : present) {
    move_mapping(entry->start, to, entry->size_bytes(), entry->path, plan);
    to += entry->size_bytes();
  }
}

// Memory in place of another kernel's vvar, and of its vDSO, whose content comes later (foreign_vdso.h).
void replace_special(const MemoryPlanInput& input, PlanBuilder& plan) {
  for (const auto& mapping : input.checkpoint.process->mappings) {
    if (!is_special(*mapping)) continue;
    plan.expect("mmap in place of " + range_text(mapping->start, mapping->end, mapping->name), SYS_mmap,
                {mapping->start, mapping->end - mapping->start, mapping->protection,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, kNoDescriptor, 0},
                static_cast<std::int64_t>(mapping->start));
  }
}

struct Parked {
  const MapEntry* entry;
  std::uint64_t start;
};

std::vector<Parked> parked_at(std::uint64_t place, const std::vector<const MapEntry*>& entries) {
  std::vector<Parked> parked;
  for (const MapEntry* entry : entries) {
    parked.push_back({entry, place});
    place += entry->size_bytes();
  }
  return parked;
}

// Each to where the program had it. One that the program has unmapped goes away.
void move_each(const std::vector<std::unique_ptr<image::MappingT>>& mappings, std::vector<Parked> parked,
               PlanBuilder& plan) {
  for (const auto& mapping : mappings) {
    if (!is_special(*mapping)) continue;
    std::uint64_t size = mapping->end - mapping->start;
    auto found = std::ranges::find_if(parked, [&](const Parked& one) {
      return one.entry->path == mapping->name && one.entry->size_bytes() == size;
    });
    if (found == parked.end()) {
      throw Error(
          "this kernel's vDSO is laid out differently from the one in the checkpoint; recover under the "
          "kernel that it was made with");
    }
    move_mapping(found->start, mapping->start, size, mapping->name, plan);
    parked.erase(found);
  }
  for (const Parked& rest : parked) {
    plan.expect("munmap " + rest.entry->path, SYS_munmap, {rest.start, rest.entry->size_bytes()}, 0);
  }
}

// By way of a parking place, because the old place may overlap the present one.
void move_special(const MemoryPlanInput& input, PlanBuilder& plan) {
  std::vector<const MapEntry*> present;
  for (const MapEntry& entry : input.present) {
    if (is_special(entry)) present.push_back(&entry);
  }
  if (input.vdso_place != 0) {
    move_together(present, input.vdso_place, plan);
    return replace_special(input, plan);
  }
  std::uint64_t parking = input.area.parking.value;
  move_together(present, parking, plan);
  move_each(input.checkpoint.process->mappings, parked_at(parking, present), plan);
}

int descriptor_of(const MemoryPlanInput& input, const image::MappingT& mapping) {
  if (mapping.file >= 0) return input.files.descriptor(mapping.file);
  if (mapping.object >= 0) return input.object_descriptors.at(static_cast<std::size_t>(mapping.object));
  return -1;
}

std::uint64_t map_flags(const image::MappingT& mapping) {
  std::uint64_t flags = MAP_FIXED_NOREPLACE;
  bool shared =
      mapping.kind == image::MappingKind::SharedFile || mapping.kind == image::MappingKind::SharedObject;
  flags |= shared ? MAP_SHARED : MAP_PRIVATE;
  if (mapping.kind == image::MappingKind::Anonymous) flags |= MAP_ANONYMOUS;
  if (mapping.grows_down) flags |= MAP_GROWSDOWN;
  if (mapping.no_reserve) flags |= MAP_NORESERVE;
  return flags;
}

bool needs_opening(const image::MappingT& mapping, const FilledRanges& filled) {
  bool private_memory =
      mapping.kind == image::MappingKind::Anonymous || mapping.kind == image::MappingKind::PrivateFile;
  return private_memory && (mapping.protection & PROT_WRITE) == 0 && filled.touches(mapping);
}

void map_object_views(const MemoryPlanInput& input, PlanBuilder& plan) {
  for (std::size_t i = 0; i < input.checkpoint.objects.size(); ++i) {
    const image::SharedObjectT& object = *input.checkpoint.objects[i];
    if (object.kind != image::ObjectKind::SharedAnonymous) continue;
    std::uint64_t address = input.area.objects[i].value;
    std::string label = fmt::format("mmap shared memory object {} ({} bytes)", i, object.size);
    plan.expect(label, SYS_mmap,
                {address, page_ceil(object.size), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, kNoDescriptor, 0},
                static_cast<std::int64_t>(address));
  }
}

// A shared anonymous object has no name to map it by: mremap with old size 0 makes another view of the same
// pages.
void plan_object_view(const MemoryPlanInput& input, const image::MappingT& mapping, PlanBuilder& plan) {
  std::uint64_t size = mapping.end - mapping.start;
  std::uint64_t source =
      input.area.objects.at(static_cast<std::size_t>(mapping.object)).value + mapping.offset;
  plan.expect("mremap (view) " + range_text(mapping.start, mapping.end, mapping.name), SYS_mremap,
              {source, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, mapping.start},
              static_cast<std::int64_t>(mapping.start));
}

bool is_object_view(const MemoryPlanInput& input, const image::MappingT& mapping) {
  return mapping.kind == image::MappingKind::SharedObject &&
         input.checkpoint.objects.at(static_cast<std::size_t>(mapping.object))->kind ==
             image::ObjectKind::SharedAnonymous;
}

bool is_attached_segment(const MemoryPlanInput& input, const image::MappingT& mapping) {
  return mapping.kind == image::MappingKind::SharedObject &&
         input.checkpoint.objects.at(static_cast<std::size_t>(mapping.object))->kind ==
             image::ObjectKind::SystemVSegment;
}

// The whole segment is attached where its first part is; parts with other access get that at the end.
void plan_attach(const MemoryPlanInput& input, const image::MappingT& mapping, PlanBuilder& plan) {
  if (mapping.offset != 0) return;
  const image::SharedObjectT& object = *input.checkpoint.objects[static_cast<std::size_t>(mapping.object)];
  int flags = mapping.may_write ? 0 : SHM_RDONLY;
  if ((mapping.protection & PROT_EXEC) != 0) flags |= SHM_EXEC;
  plan.expect("shmat " + range_text(mapping.start, mapping.end, object.name), SYS_shmat,
              {to_argument(object.system_v->id), mapping.start, to_argument(flags)},
              static_cast<std::int64_t>(mapping.start));
}

void plan_mapping(const MemoryPlanInput& input, const FilledRanges& filled, const image::MappingT& mapping,
                  PlanBuilder& plan) {
  if (is_object_view(input, mapping)) {
    plan_object_view(input, mapping, plan);
  } else if (is_attached_segment(input, mapping)) {
    plan_attach(input, mapping, plan);
  } else {
    std::uint64_t protection = mapping.protection;
    if (needs_opening(mapping, filled)) protection |= PROT_READ | PROT_WRITE;
    plan.expect("mmap " + range_text(mapping.start, mapping.end, mapping.name), SYS_mmap,
                {mapping.start, mapping.end - mapping.start, protection, map_flags(mapping),
                 to_argument(descriptor_of(input, mapping)), mapping.offset},
                static_cast<std::int64_t>(mapping.start));
  }
  for (std::uint32_t advice : mapping.advice) {
    plan.attempt(fmt::format("madvise {} ", advice) + range_text(mapping.start, mapping.end, mapping.name),
                 SYS_madvise, {mapping.start, mapping.end - mapping.start, advice});
  }
}

// Names given by prctl(PR_SET_VMA_ANON_NAME) appear as "[anon:NAME]" or, for shared memory,
// "[anon_shmem:NAME]".
void plan_name(const image::MappingT& mapping, PlanBuilder& plan) {
  for (std::string_view prefix : {std::string_view("[anon:"), std::string_view("[anon_shmem:")}) {
    if (!mapping.name.starts_with(prefix) || !mapping.name.ends_with("]")) continue;
    std::string name = mapping.name.substr(prefix.size(), mapping.name.size() - prefix.size() - 1);
    plan.attempt("name mapping " + name, SYS_prctl,
                 {PR_SET_VMA, PR_SET_VMA_ANON_NAME, mapping.start, mapping.end - mapping.start,
                  plan.string(name).value});
  }
}

void plan_layout(const image::MemoryLayoutT& layout, PlanBuilder& plan) {
  prctl_mm_map map{};
  map.start_code = layout.start_code;
  map.end_code = layout.end_code;
  map.start_data = layout.start_data;
  map.end_data = layout.end_data;
  map.start_brk = layout.start_brk;
  map.brk = layout.brk;
  map.start_stack = layout.start_stack;
  map.arg_start = layout.arg_start;
  map.arg_end = layout.arg_end;
  map.env_start = layout.env_start;
  map.env_end = layout.env_end;
  map.auxv = reinterpret_cast<__u64*>(plan.data(std::as_bytes(std::span(layout.auxv))).value);  // NOLINT
  map.auxv_size = static_cast<__u32>(layout.auxv.size());
  map.exe_fd = static_cast<__u32>(-1);
  plan.expect("prctl PR_SET_MM_MAP (heap, stack, arguments)", SYS_prctl,
              {PR_SET_MM, PR_SET_MM_MAP, plan.data_of(map).value, sizeof(map), 0}, 0);
  plan.attempt("prctl PR_SET_THP_DISABLE", SYS_prctl,
               {PR_SET_THP_DISABLE, layout.thp_disabled ? 1ULL : 0ULL, 0, 0, 0});
}

}  // namespace

void plan_mappings(const MemoryPlanInput& input, PlanBuilder& plan) {
  const image::ProcessT& process = *input.checkpoint.process;
  bool has_special =
      std::ranges::any_of(process.mappings, [](const auto& mapping) { return is_special(*mapping); });
  unmap_present(input, has_special, plan);
  if (has_special) move_special(input, plan);
  map_object_views(input, plan);
  FilledRanges filled(input);
  for (const auto& mapping : process.mappings) {
    if (!is_special(*mapping) && !is_made_later(*mapping)) plan_mapping(input, filled, *mapping, plan);
  }
}

void plan_forked_mappings(const MemoryPlanInput& input, const std::vector<bool>& kept, PlanBuilder& plan) {
  const image::ProcessT& process = *input.checkpoint.process;
  AddressRanges stays = kept_ranges(process, kept);
  for (const MapEntry& entry : input.present) {
    if (entry.path == "[vsyscall]" || is_special(entry) || is_ours(input.area, entry)) continue;
    AddressRange range{entry.start, entry.end};
    for (const AddressRange& gone : subtract({range}, slice(stays, range)))
      plan.expect("munmap " + range_text(gone.start, gone.end, entry.path), SYS_munmap,
                  {gone.start, gone.size_bytes()}, 0);
  }
  FilledRanges filled(input);
  for (std::size_t i = 0; i < process.mappings.size(); ++i) {
    const image::MappingT& mapping = *process.mappings[i];
    if (!kept[i] && !is_special(mapping) && !is_made_later(mapping))
      plan_mapping(input, filled, mapping, plan);
  }
}

void plan_memory_completion(const MemoryPlanInput& input, PlanBuilder& plan) {
  FilledRanges filled(input);
  for (const auto& mapping : input.checkpoint.process->mappings) {
    if (is_special(*mapping) || is_made_later(*mapping)) continue;
    std::uint64_t size = mapping->end - mapping->start;
    std::string range = range_text(mapping->start, mapping->end, mapping->name);
    if (needs_opening(*mapping, filled) || is_object_view(input, *mapping) ||
        is_attached_segment(input, *mapping)) {
      plan.expect("mprotect " + range, SYS_mprotect, {mapping->start, size, mapping->protection}, 0);
    }
    plan_name(*mapping, plan);
    for (const image::GuardRegion& guard : mapping->guards) {
      plan.expect("guard region " + range_text(guard.start(), guard.end(), mapping->name), SYS_madvise,
                  {guard.start(), guard.end() - guard.start(), kernel::kMadviseGuardInstall}, 0);
    }
    if (mapping->locked) plan.attempt("mlock " + range, SYS_mlock, {mapping->start, size});
  }
  plan_layout(*input.checkpoint.process->layout, plan);
}

}  // namespace ckpt::engine
