#include "engine/resource/signal_fd.h"

#include <fmt/format.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/parse.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[signalfd]";
}

image::DescriptionDetailUnion save(SaveState&, const OpenDescription& description) {
  auto mask = parse_unsigned(description.info_field("sigmask"), 16);
  if (!mask) throw Error(fmt::format("the kernel does not tell the signals of {}", description.what()));
  image::SignalFdDetailT detail;
  detail.mask = *mask;
  return as_detail(detail);
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  std::uint64_t mask = description.detail.AsSignalFdDetail()->mask;
  // The raw call: glibc's takes its own, longer kind of set.
  UniqueFd fd(static_cast<int>(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_CLOEXEC)));
  if (!fd) throw_errno("make a signalfd");
  return fd;
}

}  // namespace

const ResourceKind kSignalFd{
    "signalfd", image::DescriptionDetail::SignalFdDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
