// The tables that a program shares with its supervisor (agent/agent_table.h), from outside: one for each copy
// of the agent that it contains, none for most programs that are linked statically.
//
// Everything here may be called while the program runs, or in a stop. What cannot be read, because the
// program has just ended or executed another one, counts as not there.
#pragma once

#include <string.h>
#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/agent_table.h"
#include "base/remote_addr.h"
#include "engine/capture/address_ranges.h"
#include "engine/capture/memory_map.h"

namespace ckpt::engine {

// Whether a mapping has the name of a table (it is of a memory file that is there for its name).
bool is_named_as_agent_table(const MapEntry& entry);

// Text that the program may change while we read it: it ends within its room.
template <std::size_t kSize>
std::string text_in(const std::array<char, kSize>& room) {
  return {room.data(), ::strnlen(room.data(), kSize)};
}

class AgentTable {
 public:
  AgentTable(pid_t pid, RemoteAddr address) : pid_(pid), address_(address) {}

  RemoteAddr address() const { return address_; }
  bool is_there() const;
  // Nothing if there is no table (any more).
  std::optional<agent::ExcludedRanges> read_excluded() const;
  // Without `intents`, `argument_room` and `ids`; nullptr if there is no table (any more).
  std::unique_ptr<agent::AgentTable> read() const;
  // With the origins of as many descriptors, from the first on.
  std::unique_ptr<agent::Intents> read_intents(std::size_t descriptors) const;
  std::unique_ptr<agent::IdTable> read_ids() const;
  // False if it is not there any more.
  bool write(std::size_t offset, std::span<const std::byte> bytes) const;
  // Elsewhere in the memory of the program; 0 if it cannot be read.
  std::uint32_t read_word(RemoteAddr from) const;
  bool write_word(RemoteAddr to, std::uint32_t word) const;
  template <typename Value>
  bool write(std::size_t offset, const Value& value) const {
    return write(offset, std::as_bytes(std::span(&value, 1)));
  }

 private:
  bool try_read(RemoteAddr from, std::span<std::byte> bytes) const;
  bool try_write(RemoteAddr to, std::span<const std::byte> bytes) const;

  pid_t pid_;
  RemoteAddr address_;
};

class AgentTables {
 public:
  AgentTables() = default;
  // Those `known` by address, because a recover brought them back, if they are still there, and those that
  // `maps` shows.
  AgentTables(pid_t pid, const std::vector<std::uint64_t>& known, const std::vector<MapEntry>& maps);

  const std::vector<AgentTable>& all() const { return tables_; }
  std::vector<std::uint64_t> saved() const;

  // The ids that the program sees in place of the kernel's; none if it sees those.
  std::unique_ptr<agent::IdTable> ids() const;
  std::int32_t seen_id(std::int32_t kernel) const;

  // Memory that the program excludes from its checkpoints. `before`: what was excluded when this was asked
  // last; the answer if the program is just changing it.
  AddressRanges excluded(const AddressRanges& before) const;

 private:
  std::vector<AgentTable> tables_;
};

}  // namespace ckpt::engine
