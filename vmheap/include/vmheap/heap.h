// A persistent heap that may be larger than the memory it uses.
//
// A heap is a range of addresses that stays the same for ever, so that pointers inside it stay valid. Its
// memory is paged by this process within a strict limit. commit() makes all that was written since the last
// commit durable, at once or not at all; a process that dies in between finds the last commit when it opens
// the heap again. Every kept version can be opened, and gone back to.
//
//   auto heap = Heap::open_or_create("app.heap", {.size = 10ULL << 30}, {.resident_limit = 256 << 20});
//   auto* table = heap->find_or_construct<Table>("table");
//   table->change();
//   heap->commit();
//
// A heap lives in a directory (a checkpoint store, 0700). One process may write it, any number may read
// versions of it, at the same time.
//
// What a program should know:
//   - Whoever calls commit() says that the heap makes sense at that instant: no other thread may be in the
//   middle of a
//     change. The heap's own allocator takes part by itself.
//   - System calls may be given heap memory where serves_system_calls() says so (root, or whoever may use
//     /dev/userfaultfd). For others every call that takes an address (read, write, writev, stat, open, poll,
//     getrandom, send, recv, futex, ...) fails with EFAULT, or stops short, at a line that is not mapped: Pin
//     the memory around them. Direct and asynchronous I/O (O_DIRECT, io_uring) into heap memory always needs
//     a Pin.
//   - A forked child has no heap.
//   - Under ckptrun a checkpoint of the process takes its open heaps along: a recover brings them back as
//   they
//     were at that instant, whatever was committed. Versions that are stored for that are no commits:
//     opening, roll_back() and `keep` do not know them.
//   - If a line cannot be had (damaged store; nothing can be evicted because the disk is full), the access
//   raises SIGBUS;
//     statistics().failure says why. After space was made, commit(); or roll back: then it is tried again.
//
// Errors: ckpt::Error (ckpt/error.h), one line. Thread-safe but for roll_back() and destruction, which need
// the heap to themselves. Linux 6.6 or newer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ckpt/error.h"

namespace ckpt::vmheap {

// A part of a heap. A line is what is paged as one: a power of two, 4 KiB to 1 MiB. Small lines suit what is
// touched here and there, large ones what is gone through in order. A region begins and ends at a multiple of
// its own lines and of its neighbours', from the heap's begin; there are up to 64.
struct HeapRegion {
  std::uint64_t begin = 0;  // bytes from the heap's begin
  std::uint64_t size = 0;   // bytes
  std::uint32_t line_bytes = 4096;

  bool operator==(const HeapRegion&) const = default;
};

// Of a new heap.
struct CreateOptions {
  std::uint64_t size = 1ULL << 30;       // bytes of address space: 1 MiB to 16 TiB
  std::uint32_t line_bytes = 4096;       // of all that no region says otherwise of
  std::uint64_t base = 0;                // address, a multiple of 1 MiB; 0: chosen
  std::vector<HeapRegion> regions = {};  // with other lines
};

struct OpenOptions {
  // Bytes of heap content in memory, never exceeded; at least 16 of the longest lines.
  std::uint64_t resident_limit = 64ULL << 20;
  std::size_t keep = 3;                       // versions that stay; older ones go, some commits later
  std::string name = "heap";                  // of the heap in its store
  unsigned fault_threads = 2;                 // that serve faults
  std::optional<std::uint64_t> version = {};  // read-only: which one; default: the newest
  bool read_only = false;                     // writes raise SIGSEGV; any number of readers
};

enum class RangeKind {
  kNormal,
  kSystem,   // always resident, never saved: empty when the heap is opened
  kNursery,  // always resident, not saved until it is promoted (set to kNormal)
};

enum class AccessPattern {
  kNormal,      // what is read in order is found out, and read ahead
  kSequential,  // in order, once: read ahead from the first line on, and what was passed is given up first
  kRandom,      // nothing is read ahead
};

// What the kernel is going to do with heap memory.
enum class PinFor { kReading, kWriting };

struct HeapVersion {
  std::uint64_t version = 0;
  std::uint64_t parent = 0;
  std::int64_t created_realtime_ns = 0;
  std::uint64_t pages_written = 0;
  std::uint64_t bytes_written = 0;
  std::uint64_t disk_bytes = 0;  // of its segment, now
  bool of_checkpoint = false;    // made for a checkpoint of the process (ckptrun), goes with that
  std::string application = {};  // directory of the application that the checkpoint is of
  std::vector<std::string> tags = {};
};

struct Statistics {
  std::uint64_t size_bytes = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t resident_limit_bytes = 0;
  std::uint64_t dirty_bytes = 0;  // newer in memory than in the store
  std::uint64_t uncommitted_bytes =
      0;                             // with what was stored since the last commit; what is both counts twice
  std::uint64_t missing_faults = 0;  // the line was not in memory
  std::uint64_t minor_faults = 0;    // it was, but not mapped
  std::uint64_t write_faults = 0;    // first write to a clean line
  std::uint64_t read_ahead_lines = 0;
  std::uint64_t evictions = 0;     // lines
  std::uint64_t early_stores = 0;  // lines stored before a commit, to become clean
  std::uint64_t bytes_in = 0;      // from the store
  std::uint64_t bytes_out = 0;     // to the store
  std::uint64_t commits = 0;
  std::uint64_t rollbacks = 0;
  std::uint64_t version = 0;  // committed last
  std::uint64_t hits = 0;     // faults whose line was in memory: minor ones, and writes to protected lines
  std::string failure;        // why something could not be stored or read; empty: all well

  std::string json() const;  // one object with these names
};

class Allocator;

class Heap {
 public:
  static std::unique_ptr<Heap> create(const std::string& directory, const CreateOptions& create,
                                      const OpenOptions& options = {});
  static std::unique_ptr<Heap> open(const std::string& directory, const OpenOptions& options = {});
  static std::unique_ptr<Heap> open_or_create(const std::string& directory, const CreateOptions& create,
                                              const OpenOptions& options = {});
  ~Heap();  // what is not committed is gone
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  std::byte* base() const;
  std::uint64_t size() const;
  std::vector<HeapRegion> regions() const;  // ascending, without gaps
  bool contains(const void* address) const;
  bool serves_system_calls() const;

  // Durable when it returns; the number of the new version. After a failure the heap goes on as it was, with
  // less freedom to evict (statistics().failure); another commit may be tried.
  std::uint64_t commit();
  // Takes the instant and returns; writers may go on. wait_for_commit() returns its version, or throws what
  // commit() would.
  void commit_in_background();
  std::uint64_t wait_for_commit();
  bool committing() const;  // in the background, and not done yet
  // Back to the last commit, or to a kept version (on which the next commit then builds). So do the regions;
  // the heap does not get shorter, and keeps the lines of what has been added since.
  void roll_back(std::optional<std::uint64_t> version = std::nullopt);
  std::vector<HeapVersion> versions() const;
  void remove_version(std::uint64_t version);  // EBUSY while it has a tag
  // A version stays as long as it has a tag. Labels are 1 to 200 characters of [A-Za-z0-9._+-], and no
  // numbers.
  void tag(std::uint64_t version, const std::string& label);
  void untag(const std::string& label);
  std::uint64_t tagged(const std::string& label) const;  // throws Error (ENOENT) if there is no such version

  // Named places in the heap, found again in later runs. Names of up to 55 bytes, up to 256 of them.
  void* root(std::string_view name) const;              // nullptr: there is none
  void set_root(std::string_view name, void* address);  // nullptr: removes it

  // Memory in the heap, aligned to 16 or as asked (a power of two up to 4096). Zeroed only where it is said.
  // nullptr: the heap is full.
  void* allocate(std::size_t size, std::size_t alignment = 16);
  void* allocate_zeroed(std::size_t size);
  void* reallocate(void* memory, std::size_t size);
  void deallocate(void* memory);  // nullptr is fine
  std::size_t usable_size(const void* memory) const;

  template <typename T, typename... Arguments>
  T* construct(Arguments&&... arguments) {
    void* memory = allocate(sizeof(T), alignof(T));
    if (memory == nullptr) throw std::bad_alloc();
    return ::new (memory) T(std::forward<Arguments>(arguments)...);
  }
  template <typename T>
  void destroy(T* object) {
    if (object == nullptr) return;
    object->~T();
    deallocate(object);
  }
  template <typename T, typename... Arguments>
  T* find_or_construct(std::string_view name, Arguments&&... arguments) {
    if (void* found = root(name)) return static_cast<T*>(found);
    T* made = construct<T>(std::forward<Arguments>(arguments)...);
    set_root(name, made);
    return made;
  }

  // Keeps memory mapped until as many unpins, so that the kernel can use it: see Pin, which does both.
  void pin(const void* begin, std::size_t size, PinFor use);
  void unpin(const void* begin, std::size_t size);

  // Hints and ranges; addresses in the heap.
  void will_need(const void* begin, std::size_t size);
  void cold(const void* begin, std::size_t size);
  void discard(const void* begin, std::size_t size);  // whole lines in it become zeroes
  void set_pattern(const void* begin, std::size_t size, AccessPattern pattern);  // while the heap is open
  void set_kind(const void* begin, std::size_t size, RangeKind kind);
  void set_resident_limit(std::uint64_t bytes);
  // Makes the heap `size` bytes long, what is added a region with such lines; 0: as those before. The
  // addresses behind the heap must be free.
  void grow(std::uint64_t size, std::uint32_t line_bytes = 0);
  // Makes a region of the range. What it holds stays, and is stored as far as it has changed, without being
  // committed; accesses to what is not mapped wait meanwhile. EBUSY: something in it is pinned, or system or
  // nursery. Durable with the next commit.
  void set_line_bytes(const void* begin, std::size_t size, std::uint32_t line_bytes);

  Statistics statistics() const;

 private:
  class Parts;
  explicit Heap(std::unique_ptr<Parts> parts);
  void end();
  std::unique_ptr<Parts> parts_;
};

// Keeps heap memory mapped as long as it lives, so that the kernel can use it: for reading (write(2) from
// it), or writing (read(2) into it; its lines count as changed). It must fit the resident limit.
class Pin {
 public:
  Pin(Heap& heap, const void* begin, std::size_t size, PinFor use) : heap_(heap), begin_(begin), size_(size) {
    heap_.pin(begin_, size_, use);
  }
  ~Pin() { heap_.unpin(begin_, size_); }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

 private:
  Heap& heap_;
  const void* begin_;
  std::size_t size_;
};

}  // namespace ckpt::vmheap
