#include "store/retention.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <limits>

namespace ckpt::store {
namespace {

using Seconds = std::chrono::sys_seconds;

Seconds time_of(const VersionDescription& version) {
  return std::chrono::floor<std::chrono::seconds>(
      std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::nanoseconds(version.created_realtime_ns)));
}

std::int64_t hour_of(Seconds time) {
  return std::chrono::floor<std::chrono::hours>(time).time_since_epoch().count();
}

std::int64_t day_of(Seconds time) {
  return std::chrono::floor<std::chrono::days>(time).time_since_epoch().count();
}

std::int64_t week_of(Seconds time) {
  constexpr std::int64_t kThursdayToMonday = 3;  // 1970 began on a Thursday
  constexpr std::int64_t kWeek = 7;
  return (day_of(time) + kThursdayToMonday) / kWeek;
}

std::int64_t month_of(Seconds time) {
  std::chrono::year_month_day date(std::chrono::floor<std::chrono::days>(time));
  constexpr std::int64_t kMonths = 12;
  return static_cast<int>(date.year()) * kMonths +
         static_cast<std::int64_t>(static_cast<unsigned>(date.month()));
}

// Lets the newest version of each of the last `count` periods stay.
class Periods {
 public:
  Periods(std::size_t count, std::int64_t (*period_of)(Seconds)) : left_(count), period_of_(period_of) {}

  // To be asked from the newest version to the oldest.
  bool keeps(Seconds time) {
    std::int64_t period = period_of_(time);
    if (left_ == 0 || period >= last_) return false;
    last_ = period;
    --left_;
    return true;
  }

 private:
  std::size_t left_;
  std::int64_t (*period_of_)(Seconds);
  std::int64_t last_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace

std::vector<Version> superseded(const std::vector<VersionDescription>& versions,
                                const std::set<Version>& tagged, const Retention& retention,
                                const std::string& current_run_id) {
  std::array<Periods, 4> periods{Periods(retention.hourly, hour_of), Periods(retention.daily, day_of),
                                 Periods(retention.weekly, week_of), Periods(retention.monthly, month_of)};
  std::vector<Version> gone;
  std::set<std::string> runs_seen;
  std::size_t newer = 0;
  for (auto version = versions.rbegin(); version != versions.rend(); ++version) {
    if (!retention.apart.empty() && version->run_id == retention.apart) continue;
    bool last_of_run = runs_seen.insert(version->run_id).second;
    bool stays = newer++ < retention.last || tagged.contains(version->version) ||
                 (last_of_run && version->run_id != current_run_id);
    for (Periods& period : periods) stays |= period.keeps(time_of(*version));
    if (!stays) gone.push_back(version->version);
  }
  std::ranges::reverse(gone);
  return gone;
}

}  // namespace ckpt::store
