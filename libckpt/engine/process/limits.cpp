#include "engine/process/limits.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr std::array<std::string_view, RLIM_NLIMITS> kNames = {
    "CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
    "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};

// Not STACK: it decides where execve puts things.
constexpr std::array kOpenedForBuilding = {RLIMIT_CPU,        RLIMIT_FSIZE, RLIMIT_DATA,
                                           RLIMIT_NPROC,      RLIMIT_AS,    RLIMIT_MEMLOCK,
                                           RLIMIT_SIGPENDING, RLIMIT_NICE,  RLIMIT_RTPRIO};

std::string name_of(std::int32_t resource) {
  auto index = static_cast<std::size_t>(resource);
  return index < kNames.size() ? std::string(kNames[index]) : fmt::format("{}", resource);
}

std::string describe(std::uint64_t value) {
  return value == RLIM_INFINITY ? "unlimited" : fmt::format("{}", value);
}

void call_prlimit(pid_t pid, std::int32_t resource, const rlimit* wanted, rlimit* current) {
  if (::prlimit(pid, static_cast<__rlimit_resource>(resource), wanted, current) != 0) {
    throw_errno(
        fmt::format("{} limit {} of process {}", wanted == nullptr ? "read" : "set", name_of(resource), pid));
  }
}

void set_limit(const image::ResourceLimitT& saved, pid_t pid, std::vector<std::string>& notes) {
  rlimit wanted{.rlim_cur = saved.soft, .rlim_max = saved.hard};
  if (::prlimit(pid, static_cast<__rlimit_resource>(saved.resource), &wanted, nullptr) == 0) return;
  if (errno != EPERM) throw_errno(fmt::format("set limit {} of process {}", name_of(saved.resource), pid));
  rlimit current{};
  call_prlimit(pid, saved.resource, nullptr, &current);
  rlimit allowed{.rlim_cur = std::min(wanted.rlim_cur, current.rlim_max),
                 .rlim_max = std::min(wanted.rlim_max, current.rlim_max)};
  call_prlimit(pid, saved.resource, &allowed, nullptr);
  if (allowed.rlim_cur != saved.soft) {
    notes.push_back(fmt::format("limit {} lowered from {} to {}, all that this session may give",
                                name_of(saved.resource), describe(saved.soft), describe(allowed.rlim_cur)));
  } else {
    notes.push_back(fmt::format("hard limit {} lowered from {} to {}, all that this session may give",
                                name_of(saved.resource), describe(saved.hard), describe(allowed.rlim_max)));
  }
}

}  // namespace

void save_limits(pid_t pid, image::ProcessT& process) {
  for (std::int32_t resource = 0; resource < RLIM_NLIMITS; ++resource) {
    rlimit current{};
    call_prlimit(pid, resource, nullptr, &current);
    auto saved = std::make_unique<image::ResourceLimitT>();
    saved->resource = resource;
    saved->soft = current.rlim_cur;
    saved->hard = current.rlim_max;
    process.limits.push_back(std::move(saved));
  }
}

void open_limits_for_building() {
  for (auto resource : kOpenedForBuilding) {
    rlimit limit{};
    call_prlimit(0, resource, nullptr, &limit);
    if (limit.rlim_cur == limit.rlim_max) continue;
    limit.rlim_cur = limit.rlim_max;
    call_prlimit(0, resource, &limit, nullptr);
  }
}

void set_limits(const image::ProcessT& process, pid_t pid, std::vector<std::string>& notes) {
  for (const auto& limit : process.limits) set_limit(*limit, pid, notes);
}

}  // namespace ckpt::engine
