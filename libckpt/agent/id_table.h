// Ids of processes, threads, groups and sessions that a recovered program has in place of those that it knows
// (--pids new). The supervisor writes them before the program runs, the same into every process of it; then
// they never change. They are copied on write into forked children, and handed on by execve
// (agent/environment.h).
//
// A *seen* id is the one that the program knows, a *kernel* id the one that its system calls take. Ids that
// the table does not name are both, with one exception: what is born after the recover may get a kernel id
// that the program knows as somebody else's. It is seen as that number plus a multiple of kIdStep, which no
// kernel gives out. So the program never sees one id for two processes, every process comes to the same
// answer, and nobody has to write anything down.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ckpt::agent {

inline constexpr std::int32_t kIdStep = 1 << 22;  // PID_MAX_LIMIT of the kernel
inline constexpr std::size_t kMostIds = 4095;

struct IdPair {
  std::int32_t seen = 0;
  std::int32_t kernel = 0;
};

struct IdTable {
  // The program: the address of ckpt_ids_in_use (agent/ids.h); 0: its calls are not translated. The
  // supervisor writes there, last.
  std::uint64_t in_use = 0;
  std::uint32_t count = 0;  // the supervisor
  std::uint32_t unused = 0;
  std::array<IdPair, kMostIds> by_seen{};    // the supervisor; sorted
  std::array<IdPair, kMostIds> by_kernel{};  // the supervisor; the same, sorted
};
static_assert(sizeof(IdTable) == 65536);

// The pair whose `key` is `id`; nullptr if there is none.
inline const IdPair* find_id(const std::array<IdPair, kMostIds>& pairs, std::uint32_t count,
                             std::int32_t IdPair::*key, std::int32_t id) {
  std::size_t low = 0;
  std::size_t high = count < kMostIds ? count : kMostIds;
  while (low < high) {
    std::size_t middle = low + (high - low) / 2;
    if (pairs[middle].*key == id) return &pairs[middle];
    if (pairs[middle].*key < id)
      low = middle + 1;
    else
      high = middle;
  }
  return nullptr;
}

inline bool is_known(const IdTable& table, std::int32_t seen) {
  return find_id(table.by_seen, table.count, &IdPair::seen, seen) != nullptr;
}

inline std::int32_t seen_id(const IdTable& table, std::int32_t kernel) {
  if (kernel <= 0) return kernel;
  const IdPair* pair = find_id(table.by_kernel, table.count, &IdPair::kernel, kernel);
  if (pair != nullptr) return pair->seen;
  std::int32_t seen = kernel;
  while (is_known(table, seen)) seen += kIdStep;
  return seen;
}

inline std::int32_t kernel_id(const IdTable& table, std::int32_t seen) {
  if (seen <= 0) return seen;
  const IdPair* pair = find_id(table.by_seen, table.count, &IdPair::seen, seen);
  if (pair != nullptr) return pair->kernel;
  std::int32_t born_as = seen & (kIdStep - 1);
  return seen >= kIdStep && is_known(table, born_as) ? born_as : seen;
}

}  // namespace ckpt::agent
