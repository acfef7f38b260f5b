#include "engine/restore/seen_ids.h"

#include <algorithm>
#include <cstddef>
#include <memory>

#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

using agent::IdPair;
using agent::IdTable;

constexpr std::size_t kIdsOffset = offsetof(agent::AgentTable, ids);

// What the processes saw in the checkpoint: all that have a table have the same.
std::unique_ptr<IdTable> table_before(const std::vector<RenumberedProcess>& processes) {
  for (const RenumberedProcess& process : processes) {
    if (auto ids = process.tables.ids()) return ids;
  }
  return std::make_unique<IdTable>();
}

// None if there are more than a table holds.
std::unique_ptr<IdTable> table_now(const IdTable& before, const IdMap& ids) {
  auto table = std::make_unique<IdTable>();
  for (auto [saved, now] : ids) {
    IdPair pair{.seen = agent::seen_id(before, saved), .kernel = now};
    if (pair.seen == pair.kernel) continue;
    if (table->count == agent::kMostIds) return nullptr;
    table->by_seen[table->count] = table->by_kernel[table->count] = pair;
    ++table->count;
  }
  auto sort = [&table](auto& pairs, auto key) {
    std::ranges::sort(pairs.begin(), pairs.begin() + table->count, {}, key);
  };
  sort(table->by_seen, &IdPair::seen);
  sort(table->by_kernel, &IdPair::kernel);
  return table;
}

// False if nothing in the process would look at it.
bool write_table(const AgentTables& tables, IdTable& table) {
  bool written = false;
  for (const AgentTable& each : tables.all()) {
    std::unique_ptr<IdTable> there = each.read_ids();
    if (there == nullptr || there->in_use == 0) continue;
    table.in_use = there->in_use;
    RemoteAddr word{table.in_use};
    std::uint32_t before = each.read_word(word);
    std::uint32_t now = before == 0 && table.count == 0 ? 0 : before + 1;
    written = each.write(kIdsOffset, table) && each.write_word(word, now);
  }
  return written;
}

}  // namespace

std::vector<std::string> keep_seen_ids(const std::vector<RenumberedProcess>& processes, const IdMap& ids) {
  std::unique_ptr<IdTable> table = table_now(*table_before(processes), ids);
  bool too_many = table == nullptr;
  if (too_many) table = std::make_unique<IdTable>();
  std::vector<std::string> without;
  for (const RenumberedProcess& process : processes) {
    if (!write_table(process.tables, *table) || too_many) without.push_back(process.name);
  }
  return without;
}

}  // namespace ckpt::engine
