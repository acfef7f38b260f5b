#include "launcher/version_diff.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "image_generated.h"
#include "launcher/image_fields.h"
#include "launcher/image_memory.h"
#include "launcher/image_summary.h"

namespace ckpt::launcher {
namespace {

using store::CheckpointReader;
using store::PageRun;

// Two mappings are the same if they look the same.
using Key = std::tuple<std::uint64_t, std::uint64_t, std::uint32_t, std::string>;

std::map<Key, const image::Mapping*> mappings_of(const image::Process& process) {
  std::map<Key, const image::Mapping*> mappings;
  each(process.mappings(), [&](const image::Mapping* mapping) {
    mappings.emplace(
        Key{mapping->start(), mapping->end(), mapping->protection(), mapping_name(process, *mapping)},
        mapping);
  });
  return mappings;
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
