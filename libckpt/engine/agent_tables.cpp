#include "engine/agent_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "base/error.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kReadBytes = offsetof(agent::AgentTable, intents);

bool makes_sense(const agent::AgentTable& table, RemoteAddr address) {
  return table.magic == agent::kTableMagic && table.self == address.value &&
         table.excluded.count <= table.excluded.ranges.size();
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

std::unique_ptr<agent::Intents> AgentTable::read_intents() const {
  auto intents = std::make_unique<agent::Intents>();
  RemoteAddr from{address_.value + offsetof(agent::AgentTable, intents)};
  return try_read(from, std::as_writable_bytes(std::span(intents.get(), 1))) ? std::move(intents) : nullptr;
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
    if (std::ranges::none_of(tables_, is_known) && table.read() != nullptr) tables_.push_back(table);
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
    std::unique_ptr<agent::AgentTable> table = each.read();
    if (table == nullptr) continue;
    if (table->excluded.changing != 0) return before;
    for (const agent::ExcludedRange& range : std::span(table->excluded.ranges).first(table->excluded.count)) {
      if (range.start < range.end) ranges.push_back({page_ceil(range.start), page_floor(range.end)});
    }
  }
  normalize(ranges);
  return ranges;
}

}  // namespace ckpt::engine
