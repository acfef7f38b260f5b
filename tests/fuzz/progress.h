// What changes_memory_at_random tells memory_fuzzer, in a file that both have mapped.
#pragma once

#include <atomic>
#include <cstdint>

struct Progress {
  std::atomic<std::uint64_t> operations;
  std::atomic<std::uint64_t> failed_reads;  // into memory that was protected against it
};
