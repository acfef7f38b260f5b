#include "engine/resource/memfd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "base/error.h"
#include "engine/resource/open_for_copy.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::string_view kPrefix = "/memfd:";
constexpr std::string_view kSuffix = " (deleted)";

// A file in / may be called "memfd:x (deleted)"; no memfd has a name that leads to it.
bool matches(const SaveState&, const OpenDescription& description) {
  if (!S_ISREG(description.status.st_mode) || description.status.st_nlink != 0) return false;
  return description.link.starts_with(kPrefix) && description.link.ends_with(kSuffix);
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  std::string name = description.link.substr(kPrefix.size());
  name.resize(name.size() - kSuffix.size());
  UniqueFd content = open_for_copy(description);
  image::MemfdDetailT detail;
  detail.object = save_object(state.context, image::ObjectKind::Memfd, content.get(), name);
  return as_detail(detail);
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  std::int32_t object = description.detail.AsMemfdDetail()->object;
  UniqueFd fd = reopen_own(object_descriptor(state.objects, object), description);
  seek_to_saved_offset(fd.get(), description, "a memfd");
  return fd;
}

}  // namespace

const ResourceKind kMemfd{
    "memfd", image::DescriptionDetail::MemfdDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
