#include "engine/restore/reading_order.h"

#include <algorithm>
#include <tuple>

namespace ckpt::engine {

SpaceRuns runs_of(const store::CheckpointReader& reader, store::SpaceId space) {
  SpaceRuns runs;
  std::vector<store::StoredRun> stored = reader.stored_runs(space);
  for (const store::StoredRun& next : stored) {
    bool adjacent = !runs.by_page.empty() &&
                    runs.by_page.back().first_page + runs.by_page.back().page_count == next.run.first_page;
    if (adjacent) {
      runs.by_page.back().page_count += next.run.page_count;
    } else {
      runs.by_page.push_back(next.run);
    }
  }
  std::ranges::sort(stored, {},
                    [](const store::StoredRun& run) { return std::tuple(run.segment, run.unit); });
  std::ranges::transform(stored, std::back_inserter(runs.by_place), &store::StoredRun::run);
  return runs;
}

}  // namespace ckpt::engine
