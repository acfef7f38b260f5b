#include "engine/resource/kept_elsewhere.h"

#include <fcntl.h>

#include <algorithm>

#include "base/error.h"

namespace ckpt::engine {

bool KeptElsewhere::contains(AddressRange mapping) const {
  return std::ranges::any_of(ranges, [&](const AddressRange& range) {
    return range.start <= mapping.start && mapping.end <= range.end;
  });
}

namespace resource {
namespace {

bool matches(const SaveState& state, const OpenDescription& description) {
  const KeptElsewhere* kept = state.context.kept;
  if (kept == nullptr) return false;
  bool listed = std::ranges::any_of(description.numbers, [&](const OpenDescription::Number& number) {
    return number.holder == state.context.pid && std::ranges::count(kept->descriptors, number.number) != 0;
  });
  return listed || std::ranges::any_of(kept->directories, [&](const std::string& directory) {
           return description.link == directory || description.link.starts_with(directory + '/');
         });
}

image::DescriptionDetailUnion save(SaveState&, const OpenDescription&) {
  return as_detail(image::KeptElsewhereDetailT());
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

UniqueFd restore(RestoreState&, const image::DescriptionT&) {
  UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) throw_errno("open /dev/null");
  return nothing;
}

}  // namespace

const ResourceKind kKeptElsewhere{
    "kept elsewhere", image::DescriptionDetail::KeptElsewhereDetail, 0, matches, save, check, restore};

}  // namespace resource
}  // namespace ckpt::engine
