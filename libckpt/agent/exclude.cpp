// ckpt_exclude() and ckpt_include(). No allocation, no C++ runtime: the library may be part of any program.
#include <errno.h>
#include <pthread.h>
#include <stdint.h>

#include "agent/public.h"
#include "agent/table.h"
#include "ckpt/ckpt.h"

namespace {

using ckpt::agent::ExcludedRange;
using ckpt::agent::ExcludedRanges;

constexpr uint64_t kPageMask = 4095;

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
bool handles_fork = false;

// A child inherits the table, and must not inherit the lock in the middle of a change.
void before_fork() { pthread_mutex_lock(&mutex); }
void after_fork() { pthread_mutex_unlock(&mutex); }

class Changing {
 public:
  explicit Changing(ExcludedRanges& changed) : changed_(changed) {
    __atomic_store_n(&changed_.changing, 1, __ATOMIC_SEQ_CST);
  }
  ~Changing() { __atomic_store_n(&changed_.changing, 0, __ATOMIC_SEQ_CST); }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;

 private:
  ExcludedRanges& changed_;
};

// Takes [start, end) out of all ranges. False if a range would have to be split and there is no room.
bool cut_out(ExcludedRanges& excluded, uint64_t start, uint64_t end) {
  for (uint32_t i = 0; i < excluded.count; ++i) {
    ExcludedRange& range = excluded.ranges[i];
    bool splits = range.start < start && end < range.end;
    if (splits && excluded.count == excluded.ranges.size()) return false;
  }
  uint32_t before = excluded.count;
  for (uint32_t i = 0; i < before; ++i) {
    ExcludedRange& range = excluded.ranges[i];
    if (range.end <= start || end <= range.start) continue;
    ExcludedRange behind{end, range.end};
    range.end = range.start < start ? start : range.start;
    if (behind.start < behind.end) excluded.ranges[excluded.count++] = behind;
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < excluded.count; ++i) {
    if (excluded.ranges[i].start < excluded.ranges[i].end) excluded.ranges[kept++] = excluded.ranges[i];
  }
  excluded.count = kept;
  return true;
}

int fail(int code) {
  errno = code;
  return -1;
}

bool change(ExcludedRanges& excluded, const ExcludedRange& range, bool exclude) {
  Changing changing(excluded);
  if (!cut_out(excluded, range.start, range.end)) return false;
  if (!exclude) return true;
  if (excluded.count == excluded.ranges.size()) return false;
  excluded.ranges[excluded.count++] = range;
  return true;
}

int change(void* memory, size_t size_bytes, bool exclude) {
  auto first = reinterpret_cast<uint64_t>(memory);
  ExcludedRange range{(first + kPageMask) & ~kPageMask, (first + size_bytes) & ~kPageMask};
  if (range.start >= range.end) return fail(EINVAL);
  int saved = errno;
  pthread_mutex_lock(&mutex);
  if (!handles_fork) handles_fork = pthread_atfork(before_fork, after_fork, after_fork) == 0;
  ckpt::agent::AgentTable* table = ckpt::agent::table();
  bool done = table != nullptr && change(table->excluded, range, exclude);
  pthread_mutex_unlock(&mutex);
  errno = saved;
  return done ? 0 : fail(ENOMEM);
}

}  // namespace

CKPT_PUBLIC int ckpt_exclude(void* start, size_t size_bytes) { return change(start, size_bytes, true); }

CKPT_PUBLIC int ckpt_include(void* start, size_t size_bytes) { return change(start, size_bytes, false); }
