#include "engine/restore/new_ids.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/remote_addr.h"
#include "engine/capture/memory_reader.h"
#include "engine/capture/page_scan.h"
#include "engine/restore/call_ahead.h"
#include "engine/tracee/arch/x86_64/register_image.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

constexpr int kFutexLockPi2 = 13;  // linux/futex.h, Linux 5.14

// glibc's pthread_mutex_t on x86-64, the same since 2.2: its futex word is the first field.
struct LibcMutex {
  std::int32_t lock;
  std::uint32_t count;
  std::int32_t owner;
  std::uint32_t users;
  std::int32_t kind;
  std::int16_t spins, elision;
  std::uint64_t previous, next;
};
static_assert(sizeof(LibcMutex) == 40);
constexpr std::uint64_t kOwnerOffset = 8;
// Of its kind: type, robustness, protocol. Above them: lock elision, and whether processes share it.
constexpr std::int32_t kKindMask = 0x7f, kKnownKinds = 0x3ff;
constexpr std::int32_t kTypeMask = 3, kRecursive = 1, kErrorChecking = 2, kRobust = 16, kInheriting = 32;

template <typename T>
std::optional<T> read_value(pid_t pid, RemoteAddr from) {
  T value{};
  try {
    read_remote(pid, from, std::as_writable_bytes(std::span(&value, 1)));
  } catch (const Error&) {
    return std::nullopt;
  }
  return value;
}

template <typename T>
void write_value(pid_t pid, RemoteAddr to, const T& value) {
  write_remote(pid, to, std::as_bytes(std::span(&value, 1)));
}

class IdCorrection {
 public:
  IdCorrection(pid_t pid, const image::ProcessT& process, const IdMap& ids, CorrectedWords& done)
      : pid_(pid),
        process_(process),
        ids_(ids),
        done_(done),
        reader_(pid, PagesInCommon::kPossible) {}  // with a parent, where it was forked again

  void correct_libc_id(const image::ThreadT& thread);
  void correct_robust_list(const image::RobustListT& list);
  void correct_waiting(const image::ThreadT& thread);
  void correct_held_mutexes(AddressRange range);

 private:
  CorrectedWords::value_type place_of(std::uint64_t word) const;
  bool correct_word(RemoteAddr at, std::uint32_t mask);
  void correct_mutex(RemoteAddr futex);
  void correct_lock_function(const image::ThreadT& thread);
  std::optional<RemoteAddr> awaited_mutex(const CallAhead& call) const;
  void correct_held_mutexes_in(std::span<const std::byte> bytes, RemoteAddr at);
  std::size_t read_up_to(AddressRange range, std::span<std::byte> out);

  pid_t pid_;
  const image::ProcessT& process_;
  const IdMap& ids_;
  CorrectedWords& done_;
  MemoryReader reader_;
};

CorrectedWords::value_type IdCorrection::place_of(std::uint64_t word) const {
  enum Kind { kOwn, kObject, kFile };
  for (const auto& mapping : process_.mappings) {
    if (word < mapping->start || word >= mapping->end) continue;
    std::uint64_t offset = mapping->offset + (word - mapping->start);
    if (mapping->kind == image::MappingKind::SharedObject)
      return {kObject, static_cast<std::uint64_t>(mapping->object), offset};
    if (mapping->kind == image::MappingKind::SharedFile)
      return {kFile, process_.mapped_files.at(static_cast<std::size_t>(mapping->file))->inode, offset};
  }
  return {kOwn, static_cast<std::uint64_t>(pid_), word};
}

// The part of a word that `mask` covers is an id.
bool IdCorrection::correct_word(RemoteAddr at, std::uint32_t mask) {
  std::optional<std::uint32_t> word = read_value<std::uint32_t>(pid_, at);
  if (!word) return false;
  auto found = ids_.find(static_cast<std::int32_t>(*word & mask));
  if (found == ids_.end()) return false;
  write_value(pid_, at, (*word & ~mask) | static_cast<std::uint32_t>(found->second));
  return true;
}

void IdCorrection::correct_libc_id(const image::ThreadT& thread) {
  if (thread.clear_child_tid == 0) return;
  RemoteAddr at{thread.clear_child_tid};
  if (read_value<std::int32_t>(pid_, at) == thread.tid) write_value(pid_, at, current_id(ids_, thread.tid));
}

void IdCorrection::correct_mutex(RemoteAddr futex) {
  if (done_.contains(place_of(futex.value))) return;
  std::optional<std::uint32_t> word = read_value<std::uint32_t>(pid_, futex);
  std::optional<std::uint32_t> owner = read_value<std::uint32_t>(pid_, futex + kOwnerOffset);
  if (!word || !correct_word(futex, FUTEX_TID_MASK)) return;
  done_.insert(place_of(futex.value));
  if (owner == (*word & FUTEX_TID_MASK)) correct_word(futex + kOwnerOffset, ~0U);
}

// man 2 get_robust_list; bit 0 of an entry tells priority inheritance.
void IdCorrection::correct_robust_list(const image::RobustListT& list) {
  struct Head {
    std::uint64_t next;
    std::int64_t futex_offset;
    std::uint64_t pending;
  };
  std::optional<Head> head = read_value<Head>(pid_, RemoteAddr{list.head});
  if (!head) return;
  auto correct = [&](std::uint64_t entry) {
    correct_mutex(RemoteAddr{entry + static_cast<std::uint64_t>(head->futex_offset)});
  };
  std::uint64_t entry = head->next & ~1ULL;
  for (int i = 0; i < ROBUST_LIST_LIMIT && entry != 0 && entry != list.head; ++i) {
    correct(entry);
    entry = read_value<std::uint64_t>(pid_, RemoteAddr{entry}).value_or(0) & ~1ULL;
  }
  if (head->pending != 0) correct(head->pending & ~1ULL);
}

// The lock functions of libc read the thread's id before they wait and store it as the owner afterwards: it
// is among the few words above the stack pointer.
void IdCorrection::correct_lock_function(const image::ThreadT& thread) {
  constexpr std::uint64_t kFrames = 256;
  RemoteAddr stack{arch::from_image(thread.registers).rsp};
  for (std::uint64_t at = 0; at < kFrames; at += sizeof(std::int32_t)) {
    if (read_value<std::int32_t>(pid_, stack + at) == thread.tid)
      write_value(pid_, stack + at, current_id(ids_, thread.tid));
  }
}

// The futex word of a mutex, if that is what the call waits for.
std::optional<RemoteAddr> IdCorrection::awaited_mutex(const CallAhead& call) const {
  if (call.number != SYS_futex) return std::nullopt;
  auto command = static_cast<int>(call.arguments[1] & FUTEX_CMD_MASK);
  RemoteAddr word{call.arguments[0]};
  if (command == FUTEX_LOCK_PI || command == kFutexLockPi2) return word;
  if (command == FUTEX_WAIT_REQUEUE_PI) return RemoteAddr{call.arguments[4]};
  if (command != FUTEX_WAIT && command != FUTEX_WAIT_BITSET) return std::nullopt;
  std::optional<LibcMutex> mutex = read_value<LibcMutex>(pid_, word);
  bool robust = mutex && (mutex->kind & kKindMask & ~kTypeMask) == kRobust;
  if (robust && mutex->owner == (mutex->lock & FUTEX_TID_MASK)) return word;
  return std::nullopt;
}

void IdCorrection::correct_waiting(const image::ThreadT& thread) {
  std::optional<CallAhead> call = call_ahead(pid_, thread);
  std::optional<RemoteAddr> word = call ? awaited_mutex(*call) : std::nullopt;
  if (!word) return;
  correct_mutex(*word);
  if (done_.contains(place_of(word->value))) correct_lock_function(thread);
}

// Held by one of the threads and in no list, with an owner that libc looks at when it is locked again or
// unlocked.
bool is_held_mutex(const LibcMutex& mutex, const IdMap& ids) {
  std::int32_t kind = mutex.kind & kKindMask;
  bool inheriting = (kind & ~kTypeMask) == kInheriting && (mutex.lock & FUTEX_TID_MASK) == mutex.owner;
  bool recursive = kind == kRecursive && mutex.count > 0;
  bool error_checking = kind == kErrorChecking && mutex.count == 0;
  bool locked = inheriting || ((recursive || error_checking) && (mutex.lock == 1 || mutex.lock == 2));
  bool plain = (mutex.kind & ~kKnownKinds) == 0 && mutex.users > 0 && mutex.elision == 0 &&
               mutex.previous == 0 && mutex.next == 0;
  return locked && plain && ids.contains(mutex.owner);
}

void IdCorrection::correct_held_mutexes_in(std::span<const std::byte> bytes, RemoteAddr at) {
  for (std::size_t i = 0; i + sizeof(LibcMutex) <= bytes.size(); i += alignof(LibcMutex)) {
    LibcMutex mutex;
    std::memcpy(&mutex, bytes.data() + i, sizeof(mutex));
    if (!is_held_mutex(mutex, ids_) || !done_.insert(place_of(at.value + i)).second) continue;
    if ((mutex.kind & kInheriting) != 0) correct_word(at + i, FUTEX_TID_MASK);
    write_value(pid_, at + i + kOwnerOffset, current_id(ids_, mutex.owner));
  }
}

void IdCorrection::correct_held_mutexes(AddressRange range) {
  constexpr std::uint64_t kPiece = 1 << 20;
  std::vector<std::byte> buffer;
  for (std::uint64_t at = range.start; at < range.end; at += kPiece) {
    // Pieces overlap by a page, for what begins in one and ends in the next.
    buffer.resize(std::min(range.end - at, kPiece + kPageSize));
    std::size_t got = read_up_to({at, range.end}, buffer);
    correct_held_mutexes_in(std::span(buffer).first(got), RemoteAddr{at});
    if (got < buffer.size()) return;
  }
}

// How much of the beginning of `range` can be read, up to out.size().
std::size_t IdCorrection::read_up_to(AddressRange range, std::span<std::byte> out) {
  std::size_t got = 0;
  while (got < out.size()) {
    std::size_t more = reader_.read({range.start + got, range.end}, out.subspan(got));
    if (more == 0) break;
    got += more;
  }
  return got;
}

}  // namespace

void correct_ids_in_memory(pid_t pid, const image::ProcessT& process, const IdMap& ids,
                           CorrectedWords& corrected) {
  IdCorrection correction(pid, process, ids, corrected);
  for (const auto& thread : process.threads) {
    correction.correct_libc_id(*thread);
    if (thread->robust_list) correction.correct_robust_list(*thread->robust_list);
  }
  for (const auto& thread : process.threads) correction.correct_waiting(*thread);
  PageScanner pages(pid);
  for (const auto& mapping : process.mappings) {
    bool anonymous = mapping->kind == image::MappingKind::Anonymous;
    if (!anonymous && mapping->kind != image::MappingKind::PrivateFile) continue;
    if ((mapping->protection & PROT_WRITE) == 0) continue;
    PageFilter filter = anonymous ? PageFilter::kAnyContent : PageFilter::kPrivateCopy;
    for (const AddressRange& range : pages.scan({mapping->start, mapping->end}, filter))
      correction.correct_held_mutexes(range);
  }
}

}  // namespace ckpt::engine
