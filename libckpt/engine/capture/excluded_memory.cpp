#include "engine/capture/excluded_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "agent/agent_table.h"
#include "base/remote_addr.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {

AddressRanges excluded_memory(pid_t pid, const std::vector<MapEntry>& maps, const AddressRanges& before) {
  static const std::string kPath = fmt::format("/memfd:{} (deleted)", agent::kTableName);
  auto entry = std::ranges::find(maps, kPath, &MapEntry::path);
  if (entry == maps.end() || entry->size_bytes() < sizeof(agent::AgentTable)) return {};
  agent::AgentTable table;
  read_remote(pid, RemoteAddr{entry->start}, std::as_writable_bytes(std::span(&table, 1)));
  if (table.magic != agent::kTableMagic || table.count > table.excluded.size()) return {};
  if (table.changing != 0) return before;
  AddressRanges ranges;
  for (const agent::ExcludedRange& range : std::span(table.excluded).first(table.count)) {
    if (range.start < range.end) ranges.push_back({page_ceil(range.start), page_floor(range.end)});
  }
  normalize(ranges);
  return ranges;
}

}  // namespace ckpt::engine
