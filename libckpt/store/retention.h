// Which versions of an application stay when a new one has been made.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::store {

// The newest `last` versions stay, and the newest one of each of the last so many hours, days, weeks and
// months that have one (in UTC, weeks from Monday). A version may count for several of these.
struct Retention {
  std::size_t last = 3;
  std::size_t hourly = 0;
  std::size_t daily = 0;
  std::size_t weekly = 0;
  std::size_t monthly = 0;
  std::string apart = {};  // run whose versions neither go nor count; empty: none

  bool operator==(const Retention&) const = default;
};

// The versions that go, ascending. Besides what `retention` keeps, the last version of every run but the
// current one stays, and so does what is `tagged`. `versions` ascend.
std::vector<Version> superseded(const std::vector<VersionDescription>& versions,
                                const std::set<Version>& tagged, const Retention& retention,
                                const std::string& current_run_id);

}  // namespace ckpt::store
