/* For programs that want to take part in their checkpoints. Link with -lckpt (pkg-config ckpt, or the CMake
 * package ckpt), or load libckpt.so.
 *
 * Takes part: the process that ckptrun has started, whatever it has executed since. In every other process
 * (the program runs without ckptrun, ckptrun was killed, a child of the program) each call does nothing and
 * says so: by -ENOTCONN, 0 or NULL, as stated below. Only ckpt_exclude() and ckpt_include() succeed
 * everywhere.
 *
 * All functions are thread-safe, keep errno unless they say otherwise, and are not for signal handlers.
 */
#ifndef CKPT_CKPT_H
#define CKPT_CKPT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum ckpt_flag {
  CKPT_DURABLE = 1 /* the process that goes on returns only when the checkpoint cannot be lost any more */
};

/* Makes a checkpoint of the whole program; other threads go on meanwhile, as at any checkpoint. `flags`: 0 or
 * CKPT_DURABLE.
 *
 * Returns 0 in the process that goes on: all is read, and is being stored (with CKPT_DURABLE: is stored).
 * What goes wrong later is told by ckptrun on its standard error.
 *
 * Returns 1 in every process that is recovered from the checkpoint, when its CKPT_AFTER_RESTORE functions
 * have run. If a checkpoint asked for by somebody else contains a call that has not been answered, that call
 * returns 1 in what is recovered from it.
 *
 * Else a negative errno:
 * -ENOTCONN: there is nobody to make it.
 * -ECANCELED: a CKPT_BEFORE_CHECKPOINT function failed.
 * -EIO: it failed otherwise; ckptrun has said why on its standard error.
 * -EDEADLK: the caller is in a critical section of its own (ckpt_disable), or a function given to ckpt_on.
 * -EINVAL: unknown flags.
 * -EAGAIN: too many threads (CKPT_MOST_REQUESTS) wait for a checkpoint.
 */
int ckpt_checkpoint(unsigned flags);

enum ckpt_event {
  CKPT_BEFORE_CHECKPOINT = 1, /* bring things into a state that can be stored */
  CKPT_AFTER_CHECKPOINT = 2,  /* go on: the checkpoint was taken, or failed */
  CKPT_AFTER_RESTORE = 3      /* go on in a process that was recovered */
};

/* Returns 0, or for CKPT_BEFORE_CHECKPOINT anything else to cancel the checkpoint (then the functions for
 * CKPT_AFTER_CHECKPOINT run all the same). */
typedef int (*ckpt_hook)(enum ckpt_event event, void* argument);

/* Has `function` called at every such event, for good, in a thread of the library that exists from the first
 * call of ckpt_on() on and blocks all signals. Those for CKPT_BEFORE_CHECKPOINT run in the order in which
 * they were given, the others in the opposite order. They run while the program runs; a before-function that
 * takes more than a minute fails the checkpoint. Returns 0, -ENOTCONN, -EINVAL, -ENOSPC if there are
 * CKPT_MOST_HOOKS already, or what pthread_create(3) failed with, negative.
 */
int ckpt_on(enum ckpt_event event, ckpt_hook function, void* argument);

/* A critical section of the calling thread, during which no checkpoint is taken: one that is wanted waits
 * until no thread is in any. They nest. While one waits, a thread that is in none waits a quarter of a second
 * at most before it enters one, so that the checkpoint finds its moment. ckpt_enable() is called by the same
 * thread. Return 0, -ENOTCONN, or -EINVAL for a ckpt_enable() without its ckpt_disable().
 */
int ckpt_disable(void);
int ckpt_enable(void);

/* A random number that is another one after every recover, also where several processes are recovered from
 * one checkpoint: when it has changed, make anew what must differ between them (seeds, session keys, host
 * names). 0 in a process that does not take part.
 */
uint64_t ckpt_generation(void);

/* The arguments that were given to the last recover: ckptrun --recover NAME -- ARG... A vector that ends with
 * NULL, and its length in *count (which may be NULL); it stays as it is until the next recover. NULL if there
 * were none. To be called after a recover, not while one may happen.
 */
const char* const* ckpt_args(size_t* count);

/* A lease: a grant of something outside of the program that no checkpoint can contain (a licence, a lock, a
 * registration, a connection), with what is needed to get it again.
 */
enum ckpt_lease_state {
  CKPT_LEASE_ACTIVE = 1,        /* as it was registered */
  CKPT_LEASE_EXPIRED = 2,       /* given back before a suspend */
  CKPT_LEASE_REESTABLISHED = 3, /* granted again, at the place where it was */
  CKPT_LEASE_MOVED = 4,         /* granted again, at another of its places */
  CKPT_LEASE_LOST = 5           /* no place granted it */
};

/* Gets the lease at `place`; 0 if that succeeded. */
typedef int (*ckpt_lease_establish)(const char* name, const char* place, void* argument);
/* Gives it back. */
typedef void (*ckpt_lease_expire)(const char* name, const char* place, void* argument);

/* Registers a lease that the program holds, for good. `places`: the place where it is held and alternates,
 * separated by blanks, at most CKPT_LONGEST_PLACES bytes; what a place is, `establish` knows. Before a
 * suspend `expire` (which may be NULL) is called, and after every recover `establish` for one place after the
 * other until it succeeds; both in the thread of ckpt_on(), before the functions for CKPT_AFTER_RESTORE.
 * ckptrun logs every change, `ckpt show` shows it. Returns 0, -ENOTCONN, -EINVAL, -EEXIST if the name is
 * taken, -ENOSPC if there are CKPT_MOST_LEASES, or what pthread_create(3) failed with, negative.
 */
int ckpt_lease(const char* name, const char* places, ckpt_lease_establish establish, ckpt_lease_expire expire,
               void* argument);

/* Its state now, and in *place (which may be NULL) where it is held; or -ENOENT, -ENOTCONN. */
int ckpt_lease_state_of(const char* name, const char** place);

/* The name of lease 0, 1, ...; NULL when there are no more. */
const char* ckpt_lease_name(size_t index);

/* Leaves the whole pages within [start, start + size_bytes) out of checkpoints from now on: caches, buffers,
 * what is quickly made again. After a recover they read as zeroes (a private mapping of a file: as the file).
 * The memory stays the caller's. Returns 0, or -1 with errno: EINVAL if no whole page lies within, ENOMEM if
 * more than CKPT_MOST_EXCLUDED ranges are excluded. Thread-safe for ranges that do not overlap.
 */
int ckpt_exclude(void* start, size_t size_bytes);

/* Takes the pages in again, as they are. Returns 0, or -1 with errno ENOMEM if that would leave more than
 * CKPT_MOST_EXCLUDED ranges. Unmapping memory does not do this: memory mapped later at the same place stays
 * excluded.
 */
int ckpt_include(void* start, size_t size_bytes);

enum {
  CKPT_MOST_EXCLUDED = 255,
  CKPT_MOST_HOOKS = 64,
  CKPT_MOST_REQUESTS = 64,
  CKPT_MOST_LEASES = 8,
  CKPT_LONGEST_PLACES = 255
};

#ifdef __cplusplus
}
#endif

#endif
