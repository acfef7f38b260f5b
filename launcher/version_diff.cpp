#include "launcher/version_diff.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "image_generated.h"
#include "launcher/image_summary.h"

namespace ckpt::launcher {
namespace {

using store::CheckpointReader;
using store::PageRun;

std::string name_of(const image::Process& process, const image::Mapping& mapping) {
  const auto* files = process.mapped_files();
  auto file = static_cast<flatbuffers::uoffset_t>(mapping.file());
  if (mapping.file() >= 0 && files != nullptr && file < files->size() && files->Get(file)->path() != nullptr)
    return files->Get(file)->path()->str();
  return mapping.name() != nullptr ? mapping.name()->str() : std::string();
}

// Two mappings are the same if they look the same.
using Key = std::tuple<std::uint64_t, std::uint64_t, std::uint32_t, std::string>;

std::map<Key, const image::Mapping*> mappings_of(const image::Process& process) {
  std::map<Key, const image::Mapping*> mappings;
  if (process.mappings() == nullptr) return mappings;
  for (const image::Mapping* mapping : *process.mappings())
    mappings.emplace(Key{mapping->start(), mapping->end(), mapping->protection(), name_of(process, *mapping)},
                     mapping);
  return mappings;
}

std::uint64_t pages_within(const std::vector<PageRun>& runs, std::uint64_t start, std::uint64_t end) {
  std::uint64_t first = start / store::kPageBytes;
  std::uint64_t behind = end / store::kPageBytes;
  std::uint64_t count = 0;
  auto run = std::ranges::lower_bound(runs, first, std::ranges::less_equal(),
                                      [](const PageRun& r) { return r.first_page + r.page_count; });
  for (; run != runs.end() && run->first_page < behind; ++run)
    count += std::min(behind, run->first_page + run->page_count) - std::max(first, run->first_page);
  return count;
}

std::uint64_t page_count(const std::vector<PageRun>& runs) {
  std::uint64_t count = 0;
  for (const PageRun& run : runs) count += run.page_count;
  return count;
}

}  // namespace

VersionDifference difference(const CheckpointReader& from, const CheckpointReader& to) {
  const image::Process& before = *verified_image(from.image()).process();
  const image::Process& after = *verified_image(to.image()).process();
  VersionDifference result;
  std::set<store::SpaceId> spaces;
  for (const CheckpointReader* reader : {&from, &to}) {
    for (store::SpaceId space : reader->spaces()) spaces.insert(space);
  }
  std::vector<PageRun> changed = to.differing(after.space(), from);
  for (store::SpaceId space : spaces)
    result.changed_pages += page_count(space == after.space() ? changed : to.differing(space, from));
  auto old_mappings = mappings_of(before);
  auto new_mappings = mappings_of(after);
  auto add = [&](const Key& key, MappingFate fate) {
    const auto& [start, end, protection, name] = key;
    std::uint64_t pages = pages_within(changed, start, end);
    if (fate != MappingFate::kKept || pages > 0)
      result.mappings.push_back(
          {.fate = fate, .start = start, .end = end, .name = name, .changed_pages = pages});
  };
  for (const auto& [key, mapping] : old_mappings) {
    if (!new_mappings.contains(key)) add(key, MappingFate::kRemoved);
  }
  for (const auto& [key, mapping] : new_mappings)
    add(key, old_mappings.contains(key) ? MappingFate::kKept : MappingFate::kAdded);
  std::ranges::stable_sort(result.mappings, {}, &MappingDifference::start);
  return result;
}

}  // namespace ckpt::launcher
