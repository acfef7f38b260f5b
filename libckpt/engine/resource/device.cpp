#include "engine/resource/device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr unsigned kMemoryMajor = 1;

// Devices without state of their own (Documentation/admin-guide/devices.txt): null, zero, full, random,
// urandom.
constexpr std::array<unsigned, 5> kStatelessMinors{3, 5, 7, 8, 9};

bool matches(const SaveState&, const OpenDescription& description) {
  return S_ISCHR(description.status.st_mode) && major(description.status.st_rdev) == kMemoryMajor &&
         std::ranges::find(kStatelessMinors, minor(description.status.st_rdev)) != kStatelessMinors.end();
}

bool is_device(const std::string& path, std::uint64_t device) {
  struct stat now {};
  return ::stat(path.c_str(), &now) == 0 && S_ISCHR(now.st_mode) && now.st_rdev == device;
}

image::DescriptionDetailUnion save(SaveState&, const OpenDescription& description) {
  if (!is_device(description.link, description.status.st_rdev)) {
    throw Error(
        fmt::format("descriptor {} is a device whose path {} leads elsewhere by now; close it before the "
                    "checkpoint",
                    description.number(), description.link));
  }
  image::DeviceDetailT detail;
  detail.path = description.link;
  detail.device = description.status.st_rdev;
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT& description) {
  const image::DeviceDetailT& detail = *description.detail.AsDeviceDetail();
  std::string problem = access_problem(detail.path, description);
  if (problem.empty() && !is_device(detail.path, detail.device)) {
    return fmt::format("{} is no longer the same device", detail.path);
  }
  return problem;
}

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  return open_again(description.detail.AsDeviceDetail()->path, description);
}

}  // namespace

const ResourceKind kDevice{
    "device", image::DescriptionDetail::DeviceDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
