#include "engine/resource/event_fd.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"
#include "base/parse.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[eventfd]";
}

image::DescriptionDetailUnion save(SaveState&, const OpenDescription& description) {
  auto count = parse_unsigned(description.info_field("eventfd-count"), 16);
  if (!count) throw Error(fmt::format("the kernel does not tell the count of {}", description.what()));
  image::EventFdDetailT detail;
  detail.count = *count;
  detail.semaphore = description.info_field("eventfd-semaphore") == "1";  // told since Linux 6.7
  return as_detail(detail);
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  const image::EventFdDetailT& detail = *description.detail.AsEventFdDetail();
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | (detail.semaphore ? EFD_SEMAPHORE : 0)));
  if (!fd) throw_errno("make an eventfd");
  if (detail.count > 0 && ::eventfd_write(fd.get(), detail.count) != 0) {
    throw_errno(fmt::format("set an eventfd to {}", detail.count));
  }
  return fd;
}

}  // namespace

const ResourceKind kEventFd{
    "eventfd", image::DescriptionDetail::EventFdDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
