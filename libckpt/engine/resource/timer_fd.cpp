// Timers continue with what was left; one set to a time of day stays due at that time of day.
#include "engine/resource/timer_fd.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <charconv>
#include <ctime>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

// linux/timerfd.h cannot be included beside sys/timerfd.h.
constexpr unsigned long kSetTicks = _IOW('T', 0, std::uint64_t);

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[timerfd]";
}

// "(12, 345)": seconds and nanoseconds.
std::int64_t parse_time(std::string_view text, const std::string& what) {
  std::size_t comma = text.find(',');
  if (text.size() >= 2 && text.front() == '(' && text.back() == ')' && comma != std::string_view::npos) {
    std::string_view nanoseconds = text.substr(comma + 1, text.size() - comma - 2);
    while (nanoseconds.starts_with(' ')) nanoseconds.remove_prefix(1);
    auto whole = parse_unsigned(text.substr(1, comma - 1));
    auto part = parse_unsigned(nanoseconds);
    if (whole && part) return static_cast<std::int64_t>(*whole) * kSecond + static_cast<std::int64_t>(*part);
  }
  throw Error(fmt::format("the kernel describes {} in an unknown way: {}", what, text));
}

std::uint64_t number_field(std::string_view info, std::string_view key, int base, const std::string& what) {
  auto value = parse_unsigned(status_field(info, key), base);
  if (!value) throw Error(fmt::format("the kernel does not tell '{}' of {}", key, what));
  return *value;
}

image::TimerFdDetailT parse_info(std::string_view info, const std::string& what) {
  image::TimerFdDetailT detail;
  detail.clock = static_cast<std::int32_t>(number_field(info, "clockid", 10, what));
  detail.ticks = number_field(info, "ticks", 10, what);
  detail.settime_flags = static_cast<std::uint32_t>(number_field(info, "settime flags", 8, what));
  detail.value_ns = parse_time(status_field(info, "it_value"), what);
  detail.interval_ns = parse_time(status_field(info, "it_interval"), what);
  return detail;
}

// A periodic timer that expired and was not read stands still until somebody asks; fdinfo then shows neither
// when it is due again nor how often it would have been. timerfd_gettime(2) makes the kernel work that out,
// and changes nothing that a reader could tell.
image::DescriptionDetailUnion save(SaveState& /*state*/, const OpenDescription& description) {
  image::TimerFdDetailT detail = parse_info(description.info, description.what());
  if (detail.interval_ns > 0 && detail.value_ns == 0 && detail.ticks > 0) {
    itimerspec ignored{};
    UniqueFd copy = copy_descriptor(description);
    if (::timerfd_gettime(copy.get(), &ignored) != 0) throw_errno(fmt::format("ask {}", description.what()));
    std::string path = fmt::format("/proc/{}/fdinfo/{}", description.holder(), description.number());
    detail = parse_info(read_file(path), description.what());
  }
  return as_detail(detail);
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

timespec to_timespec(std::int64_t nanoseconds) { return {nanoseconds / kSecond, nanoseconds % kSecond}; }

bool is_wall_clock(int clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_ALARM; }

std::int64_t start_of_remaining(const image::CheckpointT& checkpoint, const image::TimerFdDetailT& detail) {
  if (is_wall_clock(detail.clock) && checkpoint.clocks != nullptr) return checkpoint.clocks->realtime_ns;
  timespec now{};
  if (::clock_gettime(detail.clock, &now) != 0) throw_errno(fmt::format("read clock {}", detail.clock));
  return now.tv_sec * kSecond + now.tv_nsec;
}

void arm(int fd, const image::CheckpointT& checkpoint, const image::TimerFdDetailT& detail) {
  std::int64_t value = detail.value_ns;
  if ((detail.settime_flags & TFD_TIMER_ABSTIME) != 0) value += start_of_remaining(checkpoint, detail);
  itimerspec when{to_timespec(detail.interval_ns), to_timespec(value)};
  if (::timerfd_settime(fd, static_cast<int>(detail.settime_flags), &when, nullptr) != 0) {
    throw_errno("set a timerfd");
  }
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::TimerFdDetailT& detail = *description.detail.AsTimerFdDetail();
  UniqueFd fd(::timerfd_create(detail.clock, TFD_CLOEXEC));
  if (!fd) throw_errno(fmt::format("make a timerfd of clock {}", detail.clock));
  if (detail.value_ns > 0) arm(fd.get(), state.checkpoint, detail);
  if (detail.ticks > 0 && ::ioctl(fd.get(), kSetTicks, &detail.ticks) != 0) {
    throw_errno(fmt::format("set a timerfd to {} expirations", detail.ticks));
  }
  return fd;
}

}  // namespace

const ResourceKind kTimerFd{
    "timerfd", image::DescriptionDetail::TimerFdDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
