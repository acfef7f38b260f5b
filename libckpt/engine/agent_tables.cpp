#include "engine/agent_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kReadBytes = offsetof(agent::AgentTable, intents);

// How a table begins.
struct Mark {
  std::uint64_t magic, self;

  bool is_of(RemoteAddr table) const { return magic == agent::kTableMagic && self == table.value; }
};
static_assert(offsetof(agent::AgentTable, magic) == offsetof(Mark, magic) &&
              offsetof(agent::AgentTable, self) == offsetof(Mark, self));

bool makes_sense(const agent::AgentTable& table, RemoteAddr address) {
  return Mark{table.magic, table.self}.is_of(address) && table.excluded.count <= table.excluded.ranges.size();
}

}  // namespace

bool is_named_as_agent_table(const MapEntry& entry) {
  static const std::string kPath = fmt::format("/memfd:{} (deleted)", agent::kTableName);
  return entry.path == kPath;
}

std::unique_ptr<agent::AgentTable> AgentTable::read() const {
  auto table = std::make_unique<agent::AgentTable>();
  auto bytes = std::as_writable_bytes(std::span(table.get(), 1)).first(kReadBytes);
  return try_read(address_, bytes) && makes_sense(*table, address_) ? std::move(table) : nullptr;
}

// Not the whole table, which takes long to make.
bool AgentTable::is_there() const {
  Mark mark{};
  return try_read(address_, std::as_writable_bytes(std::span(&mark, 1))) && mark.is_of(address_);
}

std::optional<agent::ExcludedRanges> AgentTable::read_excluded() const {
  std::optional<agent::ExcludedRanges> excluded(std::in_place);
  RemoteAddr from{address_.value + offsetof(agent::AgentTable, excluded)};
  bool there = is_there() && try_read(from, std::as_writable_bytes(std::span(&*excluded, 1)));
  if (!there || excluded->count > excluded->ranges.size()) excluded.reset();
  return excluded;
}

std::unique_ptr<agent::Intents> AgentTable::read_intents(std::size_t descriptors) const {
  auto intents = std::make_unique<agent::Intents>();
  RemoteAddr from{address_.value + offsetof(agent::AgentTable, intents)};
  std::size_t wanted = offsetof(agent::Intents, origins) +
                       std::min(descriptors, intents->origins.size()) * sizeof(agent::Origin);
  auto bytes = std::as_writable_bytes(std::span(intents.get(), 1)).first(wanted);
  return try_read(from, bytes) ? std::move(intents) : nullptr;
}

std::unique_ptr<agent::IdTable> AgentTable::read_ids() const {
  auto ids = std::make_unique<agent::IdTable>();
  RemoteAddr from{address_.value + offsetof(agent::AgentTable, ids)};
  bool there = try_read(from, std::as_writable_bytes(std::span(ids.get(), 1)));
  return there && ids->count <= agent::kMostIds ? std::move(ids) : nullptr;
}

bool AgentTable::write(std::size_t offset, std::span<const std::byte> bytes) const {
  return try_write(RemoteAddr{address_.value + offset}, bytes);
}

std::uint32_t AgentTable::read_word(RemoteAddr from) const {
  std::uint32_t word = 0;
  return try_read(from, std::as_writable_bytes(std::span(&word, 1))) ? word : 0;
}

bool AgentTable::write_word(RemoteAddr to, std::uint32_t word) const {
  return try_write(to, std::as_bytes(std::span(&word, 1)));
}

bool AgentTable::try_read(RemoteAddr from, std::span<std::byte> bytes) const {
  try {
    read_remote(pid_, from, bytes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool AgentTable::try_write(RemoteAddr to, std::span<const std::byte> bytes) const {
  try {
    write_remote(pid_, to, bytes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

AgentTables::AgentTables(pid_t pid, const std::vector<std::uint64_t>& known,
                         const std::vector<MapEntry>& maps) {
  auto add = [this, pid](std::uint64_t address) {
    AgentTable table(pid, RemoteAddr{address});
    auto is_known = [address](const AgentTable& each) { return each.address().value == address; };
    if (std::ranges::none_of(tables_, is_known) && table.is_there()) tables_.push_back(table);
  };
  for (std::uint64_t address : known) add(address);
  for (const MapEntry& entry : maps) {
    if (is_named_as_agent_table(entry)) add(entry.end);
  }
}

std::vector<std::uint64_t> AgentTables::saved() const {
  std::vector<std::uint64_t> addresses;
  for (const AgentTable& table : tables_) addresses.push_back(table.address().value);
  return addresses;
}

std::unique_ptr<agent::IdTable> AgentTables::ids() const {
  for (const AgentTable& table : tables_) {
    std::unique_ptr<agent::IdTable> ids = table.read_ids();
    if (ids != nullptr && ids->in_use != 0 && ids->count != 0) return ids;
  }
  return nullptr;
}

std::int32_t AgentTables::seen_id(std::int32_t kernel) const {
  std::unique_ptr<agent::IdTable> known = ids();
  return known != nullptr ? agent::seen_id(*known, kernel) : kernel;
}

AddressRanges AgentTables::excluded(const AddressRanges& before) const {
  AddressRanges ranges;
  for (const AgentTable& each : tables_) {
    std::optional<agent::ExcludedRanges> excluded = each.read_excluded();
    if (!excluded) continue;
    if (excluded->changing != 0) return before;
    for (const agent::ExcludedRange& range : std::span(excluded->ranges).first(excluded->count)) {
      if (range.start < range.end) ranges.push_back({page_ceil(range.start), page_floor(range.end)});
    }
  }
  normalize(ranges);
  return ranges;
}

}  // namespace ckpt::engine
