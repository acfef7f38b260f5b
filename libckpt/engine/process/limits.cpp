#include "engine/process/limits.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/process/proc_status.h"

namespace ckpt::engine {
namespace {

constexpr std::array<std::string_view, RLIM_NLIMITS> kNames = {
    "CPU",     "FSIZE", "DATA",  "STACK",      "CORE",     "RSS",  "NPROC",  "NOFILE",
    "MEMLOCK", "AS",    "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};

// Not STACK: it decides where execve puts things.
constexpr std::array kOpenedForBuilding = {RLIMIT_CPU,        RLIMIT_FSIZE, RLIMIT_DATA,
                                           RLIMIT_NPROC,      RLIMIT_AS,    RLIMIT_MEMLOCK,
                                           RLIMIT_SIGPENDING, RLIMIT_NICE,  RLIMIT_RTPRIO};

// A line of /proc/PID/limits is "%-25s %-20s %-20s %-10s", one for each resource in the order of their
// numbers.
constexpr std::size_t kNameColumns = 26;

std::string name_of(std::int32_t resource) {
  auto index = static_cast<std::size_t>(resource);
  return index < kNames.size() ? std::string(kNames[index]) : fmt::format("{}", resource);
}

std::string describe(std::uint64_t value) {
  return value == RLIM_INFINITY ? "unlimited" : fmt::format("{}", value);
}

std::uint64_t take_value(std::string_view& line) {
  std::size_t end = std::min(line.find(' '), line.size());
  std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  if (word == "unlimited") return RLIM_INFINITY;
  if (auto value = parse_unsigned(word)) return *value;
  throw Error(
      fmt::format("/proc limits has '{}' where a number was expected; is this kernel supported?", word));
}

rlimit own_limit(std::int32_t resource) {
  rlimit limit{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) {
    throw_errno(fmt::format("read limit {}", name_of(resource)));
  }
  return limit;
}

bool may_raise_limits() { return (ProcStatus::of_self().number("CapEff", 16) >> CAP_SYS_RESOURCE & 1) != 0; }

// What this session may give of a saved limit; a lower one is said.
rlimit permitted(const image::ResourceLimitT& saved, bool may_raise, std::vector<std::string>& notes) {
  rlimit wanted{.rlim_cur = saved.soft, .rlim_max = saved.hard};
  rlim_t highest = own_limit(saved.resource).rlim_max;
  if (may_raise || saved.hard <= highest) return wanted;
  rlimit lowered{.rlim_cur = std::min(wanted.rlim_cur, highest), .rlim_max = highest};
  bool soft = lowered.rlim_cur != wanted.rlim_cur;
  notes.push_back(fmt::format("{} {} lowered from {} to {}, all that this session may give",
                              soft ? "limit" : "hard limit", name_of(saved.resource),
                              describe(soft ? wanted.rlim_cur : wanted.rlim_max), describe(highest)));
  return lowered;
}

}  // namespace

std::vector<image::ResourceLimitT> parse_proc_limits(std::string_view text) {
  std::vector<image::ResourceLimitT> limits;
  text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);  // the headings
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    line.remove_prefix(std::min(kNameColumns, line.size()));
    image::ResourceLimitT limit;
    limit.resource = static_cast<std::int32_t>(limits.size());
    limit.soft = take_value(line);
    limit.hard = take_value(line);
    limits.push_back(limit);
  }
  if (limits.size() < RLIM_NLIMITS) throw Error("/proc limits is incomplete; is this kernel supported?");
  return limits;
}

void save_limits(pid_t pid, image::ProcessT& process) {
  for (const image::ResourceLimitT& limit :
       parse_proc_limits(read_file(fmt::format("/proc/{}/limits", pid)))) {
    process.limits.push_back(std::make_unique<image::ResourceLimitT>(limit));
  }
}

void open_limits_for_building(const image::ProcessT& process) {
  for (const auto& saved : process.limits) {
    rlimit limit = own_limit(saved->resource);
    limit.rlim_max = std::max<rlim_t>(limit.rlim_max, saved->hard);
    // Without the privilege it stays; plan_limits() knows and tells.
    if (::setrlimit(static_cast<__rlimit_resource>(saved->resource), &limit) != 0 && errno != EPERM) {
      throw_errno(fmt::format("raise limit {}", name_of(saved->resource)));
    }
  }
  for (auto resource : kOpenedForBuilding) {
    rlimit limit = own_limit(resource);
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(resource, &limit) != 0) throw_errno(fmt::format("open limit {}", name_of(resource)));
  }
}

void plan_limits(const image::ProcessT& process, PlanBuilder& plan, std::vector<std::string>& notes) {
  bool may_raise = may_raise_limits();
  for (const auto& saved : process.limits) {
    RemoteAddr limit = plan.data_of(permitted(*saved, may_raise, notes));
    plan.expect(fmt::format("limit {}", name_of(saved->resource)), SYS_prlimit64,
                {0, static_cast<std::uint64_t>(saved->resource), limit.value, 0}, 0);
  }
}

}  // namespace ckpt::engine
