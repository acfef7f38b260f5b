/* For programs that want to take part in their checkpoints. Link with -lckpt; a program that runs without
 * ckptrun loses nothing by calling these.
 */
#ifndef CKPT_CKPT_H
#define CKPT_CKPT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Leaves the whole pages within [start, start + size_bytes) out of checkpoints from now on: caches, buffers,
 * what is quickly made again. After a recover they read as zeroes (a private mapping of a file: as the file).
 * The memory stays the caller's. Returns 0, or -1 with errno: EINVAL if no whole page lies within, ENOMEM if
 * more than CKPT_MOST_EXCLUDED ranges are excluded. Thread-safe for ranges that do not overlap; not for
 * signal handlers.
 */
int ckpt_exclude(void* start, size_t size_bytes);

/* Takes the pages in again, as they are. Returns 0, or -1 with errno ENOMEM if that would leave more than
 * CKPT_MOST_EXCLUDED ranges. Unmapping memory does not do this: memory mapped later at the same place stays
 * excluded.
 */
int ckpt_include(void* start, size_t size_bytes);

enum { CKPT_MOST_EXCLUDED = 255 };

#ifdef __cplusplus
}
#endif

#endif
