// What a program tells its supervisor, in memory of its own: a shared mapping of a memory file with a name
// that the supervisor looks for in /proc/PID/maps. It needs no connection, survives a recover like all other
// memory, and costs nothing while nobody looks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ckpt::agent {

inline constexpr char kTableName[] = "ckpt-agent-table";
inline constexpr std::uint64_t kTableMagic = 0x31454c4254504b43;  // "CKPTBLE1"

struct ExcludedRange {
  std::uint64_t start = 0;  // 0: free
  std::uint64_t end = 0;
};

// Readers may look in the middle of a change: `changing` tells them not to rely on the ranges.
struct AgentTable {
  std::uint64_t magic = kTableMagic;
  std::uint32_t changing = 0;
  std::uint32_t count = 0;
  std::array<ExcludedRange, 255> excluded{};
};
static_assert(sizeof(AgentTable) == 4096);

}  // namespace ckpt::agent
