#include "agent/table.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace ckpt::agent {
namespace {

constexpr size_t kPageBytes = 4096;

AgentTable* the_table = nullptr;

// A page with the name, and the table behind it. The memory file stays empty, because making it longer could
// exceed the limit of file sizes, and nobody touches that page.
bool put_name(void* page) {
  int fd = memfd_create(kTableName, MFD_CLOEXEC);
  if (fd < 0) return false;
  bool named = mmap(page, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_FIXED, fd, 0) != MAP_FAILED;
  close(fd);
  return named;
}

void unmap_table(AgentTable* table) {
  munmap(reinterpret_cast<char*>(table) - kPageBytes, kPageBytes + sizeof(AgentTable));
}

AgentTable* map_table() {
  constexpr size_t kBytes = kPageBytes + sizeof(AgentTable);
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* made = reinterpret_cast<AgentTable*>(static_cast<char*>(memory) + kPageBytes);  // all zeroes
  if (!put_name(memory)) {
    unmap_table(made);
    return nullptr;
  }
  made->self = reinterpret_cast<uint64_t>(made);
  learn_supervisor(*made);
  if (getrandom(&made->generation, sizeof made->generation, GRND_NONBLOCK) < 0) made->generation = 1;
  __atomic_store_n(&made->magic, kTableMagic, __ATOMIC_RELEASE);
  return made;
}

struct WakePath {
  explicit WakePath(const AgentTable& table) {
    size_t length = strnlen(table.directory.data(), table.directory.size() - 1);
    memcpy(text, table.directory.data(), length);
    text[length] = '/';
    memcpy(text + length + 1, kWakeFile, sizeof kWakeFile);
  }
  char text[sizeof(AgentTable::directory) + sizeof(kWakeFile) + 1];
};

// A program that is linked with the library may have changed its environment before it calls it first.
__attribute__((constructor)) void look_for_supervisor() {
  KeepsErrno keeps;
  if (variable(kRunVariable) != nullptr) table();
}

}  // namespace

const char* variable(const char* name) {
  size_t length = strlen(name);
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
  }
  return nullptr;
}

// Reads "PID:DIRECTORY".
void learn_supervisor(AgentTable& made) {
  const char* value = variable(kRunVariable);
  if (value == nullptr) return;
  char* directory = nullptr;
  long owner = strtol(value, &directory, 10);
  if (*directory != ':' || owner != getpid() || strlen(directory + 1) >= made.directory.size()) return;
  memcpy(made.directory.data(), directory + 1, strlen(directory + 1) + 1);
  made.owner = static_cast<int32_t>(owner);
}

AgentTable* table() {
  AgentTable* known = __atomic_load_n(&the_table, __ATOMIC_ACQUIRE);
  if (known != nullptr) return known;
  AgentTable* made = map_table();
  if (made == nullptr) return nullptr;
  if (__atomic_compare_exchange_n(&the_table, &known, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    return made;
  unmap_table(made);
  return known;
}

bool started_by_ckptrun() { return variable(kRunVariable) != nullptr; }

AgentTable* existing_table() { return __atomic_load_n(&the_table, __ATOMIC_ACQUIRE); }

bool is_owner(const AgentTable& table) { return table.owner != 0 && table.owner == getpid(); }

AgentTable* joined_table() {
  AgentTable* known = table();
  if (known == nullptr || !is_owner(*known)) return nullptr;
  if (known->called == 0) known->called = 1;
  return known;
}

bool wake_supervisor(const AgentTable& table) {
  return utimensat(AT_FDCWD, WakePath(table).text, nullptr, AT_SYMLINK_NOFOLLOW) == 0;
}

bool supervisor_lives(const AgentTable& table) {
  char process[32] = "/proc/";
  constexpr size_t kPrefix = 6;
  ssize_t length = readlink(WakePath(table).text, process + kPrefix, sizeof(process) - kPrefix - 1);
  if (length <= 0) return false;
  process[kPrefix + static_cast<size_t>(length)] = '\0';
  return access(process, F_OK) == 0 || access("/proc/self", F_OK) != 0;
}

void wait_on(uint32_t& word, uint32_t value, unsigned seconds) { wait_on_ms(word, value, seconds * 1000); }

void wait_on_ms(uint32_t& word, uint32_t value, unsigned milliseconds) {
  timespec limit{.tv_sec = milliseconds / 1000,
                 .tv_nsec = static_cast<long>(milliseconds % 1000) * 1'000'000};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, milliseconds != 0 ? &limit : nullptr, nullptr, 0);
}

void wake_waiters(uint32_t& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

}  // namespace ckpt::agent
