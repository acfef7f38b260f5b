/* The persistent heap for programs in C. What a heap is, who may use it at once, and what system calls and
 * forked children may do with its memory is written in vmheap/heap.h, whose functions these are.
 *
 * Functions that return int: 0, or -1 with errno set; those that return pointers: NULL. vmheap_error() then
 * has one line for people, of the calling thread. Thread-safe but for vmheap_roll_back() and vmheap_close().
 */
#ifndef VMHEAP_VMHEAP_H
#define VMHEAP_VMHEAP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct vmheap vmheap;

/* Zero stands for the default. */
typedef struct {
  uint64_t size;           /* of a new heap: bytes of address space (1 GiB) */
  uint32_t line_bytes;     /* of a new heap, see vmheap_set_line_bytes(): 4096 to 1 MiB (4096) */
  uint32_t keep;           /* versions that stay (3) */
  uint64_t resident_limit; /* bytes of heap content in memory (64 MiB) */
  const char* name;        /* in its directory ("heap") */
  int read_only;
  uint64_t base;          /* of a new heap: its address, a multiple of 1 MiB (chosen) */
  uint64_t version;       /* read-only: which one (the newest) */
  uint32_t fault_threads; /* that serve faults (2) */
} vmheap_options;

typedef struct {
  uint64_t version;
  uint64_t parent;
  int64_t created_realtime_ns;
  uint64_t pages_written;
  uint64_t bytes_written;
  uint64_t disk_bytes; /* of its segment, now */
  int of_checkpoint;   /* made for a checkpoint of the process (ckptrun), goes with that */
} vmheap_version;

/* How a range is going to be used; see AccessPattern and RangeKind in heap.h. */
typedef enum { VMHEAP_PATTERN_NORMAL, VMHEAP_PATTERN_SEQUENTIAL, VMHEAP_PATTERN_RANDOM } vmheap_pattern;
typedef enum { VMHEAP_KIND_NORMAL, VMHEAP_KIND_SYSTEM, VMHEAP_KIND_NURSERY } vmheap_kind;

/* Opens the heap in `directory`, or makes it. `options` may be NULL. Closed, what is not committed is gone.
 */
vmheap* vmheap_open(const char* directory, const vmheap_options* options);
void vmheap_close(vmheap* heap);

void* vmheap_base(const vmheap* heap);
uint64_t vmheap_size(const vmheap* heap);
int vmheap_contains(const vmheap* heap, const void* address); /* 1 or 0 */
int vmheap_serves_system_calls(const vmheap* heap);           /* 1 or 0 */
int vmheap_set_resident_limit(vmheap* heap, uint64_t bytes);

/* Makes the heap `size` bytes long. `line_bytes`: what is paged as one in the part that is added; 0: as
 * before. */
int vmheap_grow(vmheap* heap, uint64_t size, uint32_t line_bytes);
/* From now on lines of this size are paged as one in the range, which begins and ends at multiples of them.
 */
int vmheap_set_line_bytes(vmheap* heap, const void* begin, size_t size, uint32_t line_bytes);

/* Returns the number of the new version, 0 after a failure. */
uint64_t vmheap_commit(vmheap* heap);
/* Takes the instant and returns; writers may go on. The wait returns what vmheap_commit() would. */
int vmheap_commit_in_background(vmheap* heap);
uint64_t vmheap_wait_for_commit(vmheap* heap);
int vmheap_committing(const vmheap* heap); /* 1 or 0 */

/* `version` 0: the last commit. */
int vmheap_roll_back(vmheap* heap, uint64_t version);
/* Writes the `room` oldest versions, ascending. Returns how many there are, -1 after a failure. */
int vmheap_versions(const vmheap* heap, vmheap_version* versions, int room);
int vmheap_remove_version(vmheap* heap, uint64_t version); /* EBUSY while it has a tag */
/* A version stays as long as it has a tag. */
int vmheap_tag(vmheap* heap, uint64_t version, const char* label);
int vmheap_untag(vmheap* heap, const char* label);
uint64_t vmheap_tagged(const vmheap* heap, const char* label); /* 0 and ENOENT: there is no such version */

/* Aligned to 16, or as asked (a power of two up to 4096). Zeroed only where it is said. */
void* vmheap_allocate(vmheap* heap, size_t size);
void* vmheap_allocate_aligned(vmheap* heap, size_t size, size_t alignment);
void* vmheap_allocate_zeroed(vmheap* heap, size_t size);
/* As realloc(): the old memory stays if it fails. */
void* vmheap_reallocate(vmheap* heap, void* memory, size_t size);
void vmheap_free(vmheap* heap, void* memory);
size_t vmheap_usable_size(const vmheap* heap, const void* memory); /* 0 after a failure */

/* NULL without an error in errno (0): there is no such root. */
void* vmheap_root(const vmheap* heap, const char* name);
int vmheap_set_root(vmheap* heap, const char* name, void* address);

/* Keeps memory mapped around system calls and direct I/O; `writing`: the kernel writes to it. */
int vmheap_pin(vmheap* heap, const void* begin, size_t size, int writing);
int vmheap_unpin(vmheap* heap, const void* begin, size_t size);

/* Hints and ranges; addresses in the heap. */
int vmheap_will_need(vmheap* heap, const void* begin, size_t size);
int vmheap_cold(vmheap* heap, const void* begin, size_t size);
int vmheap_discard(vmheap* heap, const void* begin, size_t size); /* whole lines in it become zeroes */
int vmheap_set_pattern(vmheap* heap, const void* begin, size_t size, vmheap_pattern pattern);
int vmheap_set_kind(vmheap* heap, const void* begin, size_t size, vmheap_kind kind);

/* One JSON object (Statistics in heap.h). Owned by the heap's library until the next call in this thread. */
const char* vmheap_statistics(const vmheap* heap);

const char* vmheap_error(void);

#ifdef __cplusplus
}
#endif

#endif
