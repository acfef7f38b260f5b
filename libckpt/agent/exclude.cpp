// ckpt_exclude() and ckpt_include(). No allocation, no C++ runtime: the library may be part of any program.
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/agent_table.h"
#include "ckpt/ckpt.h"

namespace {

using ckpt::agent::AgentTable;
using ckpt::agent::ExcludedRange;

constexpr uint64_t kPageMask = 4095;

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
AgentTable* table = nullptr;

AgentTable* map_table() {
  int fd = memfd_create(ckpt::agent::kTableName, MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  void* memory = MAP_FAILED;
  if (ftruncate(fd, sizeof(AgentTable)) == 0)
    memory = mmap(nullptr, sizeof(AgentTable), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<AgentTable*>(memory);
}

void before_fork() { pthread_mutex_lock(&mutex); }
void after_fork_in_parent() { pthread_mutex_unlock(&mutex); }

// The table is shared memory; a child has one of its own.
void after_fork_in_child() {
  pthread_mutex_unlock(&mutex);
  if (table == nullptr) return;
  AgentTable* own = map_table();
  if (own != nullptr) memcpy(own, table, sizeof(AgentTable));
  munmap(table, sizeof(AgentTable));
  table = own;
}

bool have_table() {
  if (table != nullptr) return true;
  table = map_table();
  if (table == nullptr) return false;
  table->magic = ckpt::agent::kTableMagic;
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  return true;
}

class Changing {
 public:
  explicit Changing(AgentTable& changed) : table_(changed) {
    __atomic_store_n(&table_.changing, 1, __ATOMIC_SEQ_CST);
  }
  ~Changing() { __atomic_store_n(&table_.changing, 0, __ATOMIC_SEQ_CST); }
  Changing(const Changing&) = delete;
  Changing& operator=(const Changing&) = delete;

 private:
  AgentTable& table_;
};

// Takes [start, end) out of all ranges. False if a range would have to be split and there is no room.
bool cut_out(uint64_t start, uint64_t end) {
  for (uint32_t i = 0; i < table->count; ++i) {
    ExcludedRange& range = table->excluded[i];
    bool splits = range.start < start && end < range.end;
    if (splits && table->count == table->excluded.size()) return false;
  }
  uint32_t before = table->count;
  for (uint32_t i = 0; i < before; ++i) {
    ExcludedRange& range = table->excluded[i];
    if (range.end <= start || end <= range.start) continue;
    ExcludedRange behind{end, range.end};
    range.end = range.start < start ? start : range.start;
    if (behind.start < behind.end) table->excluded[table->count++] = behind;
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < table->count; ++i) {
    if (table->excluded[i].start < table->excluded[i].end) table->excluded[kept++] = table->excluded[i];
  }
  table->count = kept;
  return true;
}

int fail(int code) {
  errno = code;
  return -1;
}

int change(void* memory, size_t size_bytes, bool exclude) {
  auto first = reinterpret_cast<uint64_t>(memory);
  uint64_t start = (first + kPageMask) & ~kPageMask;
  uint64_t end = (first + size_bytes) & ~kPageMask;
  if (start >= end) return fail(EINVAL);
  int saved = errno;
  pthread_mutex_lock(&mutex);
  bool done = have_table();
  if (done) {
    Changing changing(*table);
    done = cut_out(start, end);
    if (done && exclude) {
      done = table->count < table->excluded.size();
      if (done) table->excluded[table->count++] = {start, end};
    }
  }
  pthread_mutex_unlock(&mutex);
  errno = saved;
  return done ? 0 : fail(ENOMEM);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int ckpt_exclude(void* start, size_t size_bytes) {
  return change(start, size_bytes, true);
}

extern "C" __attribute__((visibility("default"))) int ckpt_include(void* start, size_t size_bytes) {
  return change(start, size_bytes, false);
}
