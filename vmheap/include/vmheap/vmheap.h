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
} vmheap_options;

/* Opens the heap in `directory`, or makes it. `options` may be NULL. Closed, what is not committed is gone.
 */
vmheap* vmheap_open(const char* directory, const vmheap_options* options);
void vmheap_close(vmheap* heap);

void* vmheap_base(const vmheap* heap);
uint64_t vmheap_size(const vmheap* heap);

/* Makes the heap `size` bytes long. `line_bytes`: what is paged as one in the part that is added; 0: as
 * before. */
int vmheap_grow(vmheap* heap, uint64_t size, uint32_t line_bytes);
/* From now on lines of this size are paged as one in the range, which begins and ends at multiples of them.
 */
int vmheap_set_line_bytes(vmheap* heap, const void* begin, size_t size, uint32_t line_bytes);

/* Returns the number of the new version, 0 after a failure. */
uint64_t vmheap_commit(vmheap* heap);
/* `version` 0: the last commit. */
int vmheap_roll_back(vmheap* heap, uint64_t version);

void* vmheap_allocate(vmheap* heap, size_t size);
/* As realloc(): the old memory stays if it fails. */
void* vmheap_reallocate(vmheap* heap, void* memory, size_t size);
void vmheap_free(vmheap* heap, void* memory);

/* NULL without an error in errno (0): there is no such root. */
void* vmheap_root(const vmheap* heap, const char* name);
int vmheap_set_root(vmheap* heap, const char* name, void* address);

/* Keeps memory mapped around system calls and direct I/O; `writing`: the kernel writes to it. */
int vmheap_pin(vmheap* heap, const void* begin, size_t size, int writing);
int vmheap_unpin(vmheap* heap, const void* begin, size_t size);

/* One JSON object (Statistics in heap.h). Owned by the heap's library until the next call in this thread. */
const char* vmheap_statistics(const vmheap* heap);

const char* vmheap_error(void);

#ifdef __cplusplus
}
#endif

#endif
