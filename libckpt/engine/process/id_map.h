// Ids of processes, threads, groups and sessions that a restored program got instead of its old ones. Empty
// when all ids are the old ones.
#pragma once

#include <cstdint>
#include <map>

namespace ckpt::engine {

using IdMap = std::map<std::int32_t, std::int32_t>;

inline std::int32_t current_id(const IdMap& ids, std::int32_t saved) {
  auto found = ids.find(saved);
  return found == ids.end() ? saved : found->second;
}

}  // namespace ckpt::engine
