/* For a library that keeps memory of the program in files of its own (vmheap is one). A checkpoint contains
 * nothing of that memory, but the name of what the library has stored, so that a recover brings both back to
 * the same instant.
 *
 * keep_off, then go_on, around whatever else stops the program: when keep_off has returned, no thread of the
 * program is where those of the library would wait for it, and none gets there.
 *
 * Order of a checkpoint:
 *   get_ready   the program runs. Does what keep_off does, stores what there is, and begins to note what
 * changes from now on. settle      all threads stand still but those of the library (`threads`). Puts into
 * memory of its own, which the checkpoint contains, what has changed since. It must not wait for anything
 * that other threads may hold: no malloc. go_on       the program runs again. Also after failures, and where
 * settle was not called. Order of a recover: stand_in    only the calling thread runs, memory in `kept` is
 * mapped without access, its descriptors are of /dev/null. Accesses of other threads, which are let go next,
 * must wait from now on. No malloc. come_back   the program runs. When it returns the memory is as it was.
 *
 * All are called by the thread of ckpt_on(), and return NULL, or what went wrong in one line (static text, or
 * valid until the next call); a checkpoint then fails, and a recover ends the program.
 */
#ifndef CKPT_KEEPER_H
#define CKPT_KEEPER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CKPT_MOST_KEPT = 8, CKPT_MOST_KEEPER_THREADS = 64 };

/* One memory that is kept elsewhere. The library writes it while no settle is under way. */
struct ckpt_kept {
  uint64_t ranges[2][2]; /* start and end of whole mappings; unused: 0, 0 */
  int32_t
      descriptors[4]; /* that come back as /dev/null, as all do whose files lie in `directory`; unused: -1 */
  uint64_t version;   /* what get_ready has stored */
  char directory[1024]; /* absolute; empty: this entry is free */
  char name[208];
};

struct ckpt_keeper {
  void (*keep_off)(void* argument);
  const char* (*get_ready)(void* argument);
  const char* (*settle)(void* argument);
  void (*go_on)(void* argument);
  const char* (*stand_in)(void* argument);
  const char* (*come_back)(void* argument);
  void* argument;
  const char* application; /* written by ckpt_keep(): directory of the application in its store */
  int32_t threads[CKPT_MOST_KEEPER_THREADS]; /* ids as gettid(2) gives them; unused: 0 */
  struct ckpt_kept kept[CKPT_MOST_KEPT];
};

/* Registers it, for good; the caller owns it. Returns 0, -ENOTCONN where nobody makes checkpoints, -EEXIST if
 * there is one already, or what pthread_create(3) failed with, negative. Thread-safe.
 */
int ckpt_keep(struct ckpt_keeper* keeper);

#ifdef __cplusplus
}
#endif

#endif
