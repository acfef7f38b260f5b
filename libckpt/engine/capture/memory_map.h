// /proc/PID/maps and /proc/PID/smaps of a process, parsed (proc_pid_maps(5), proc_pid_smaps(5)).
#pragma once

#include <sys/types.h>

#include <bitset>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ckpt::engine {

struct MapEntry {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::uint32_t protection = 0;  // PROT_*
  bool shared = false;
  std::uint64_t offset = 0;
  std::uint64_t device = 0;  // as st_dev
  std::uint64_t inode = 0;
  std::string path;  // "" for unnamed memory

  std::uint64_t size_bytes() const { return end - start; }
  bool operator==(const MapEntry&) const = default;
};

std::vector<MapEntry> read_memory_map(pid_t pid);

// The vDSO, or one of the mappings before it that its code reads (vdso(7)).
bool is_vdso_or_data(const MapEntry& entry);

// The VmFlags line of smaps: two-letter codes separated by blanks; how much of the mapping is swapped out,
// and its protection key.
struct MapFlags {
  MapEntry entry;
  std::bitset<676> codes;  // two letters each
  std::uint64_t swapped_bytes = 0;
  std::uint8_t protection_key = 0;

  bool has(std::string_view code) const;
  void set_codes(std::string_view text);
};

// Flags by start address. Slow (FACTS: 16 ms per GiB), so it is read before a stop and checked inside with
// matches().
class MapFlagsTable {
 public:
  static MapFlagsTable read(pid_t pid);
  // True if every entry of `maps` was there, unchanged, when the table was read.
  bool covers(const std::vector<MapEntry>& maps) const;
  const MapFlags& of(const MapEntry& entry) const;     // throws Error if unknown
  std::vector<MapEntry> with(const char* code) const;  // all mappings that have the flag

 private:
  std::map<std::uint64_t, MapFlags> by_start_;
};

}  // namespace ckpt::engine
