// Does to its memory, in the first moments after a lazy restore, what must be right although hardly anything
// is there yet: discards, moves, unmaps, protects, locks, forks, makes system calls on it. Then looks at
// every word.
//
//   changes_missing_memory [MIB] GO_FILE     default: 256; the go file should exist before the recover
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "target.h"

enum { kPageBytes = 4096, kPageWords = kPageBytes / 8, kMoves = 40, kThreads = 2 };

enum Region { kDiscarded, kMoved, kUnmapped, kProtected, kWritten, kLocked, kForked, kTossed, kRegions };

static size_t region_pages;
static unsigned char* regions[kRegions];
static volatile bool tossing = true;

static uint64_t word(unsigned region, size_t page, size_t index) {
  return (region + 1) * 0x9e3779b97f4a7c15u ^ (page + 1) * 0xc2b2ae3d27d4eb4fu ^ index * 0x165667b19e3779f9u;
}

static size_t bytes_of(size_t pages) { return pages * kPageBytes; }

static void fill(unsigned region) {
  uint64_t* words = (uint64_t*)regions[region];
  for (size_t page = 0; page < region_pages; page++) {
    for (size_t i = 0; i < kPageWords; i++) words[page * kPageWords + i] = word(region, page, i);
  }
}

// `at` holds what pages [first, first + count) of the region held.
static bool holds(unsigned region, const unsigned char* at, size_t first, size_t count) {
  const uint64_t* words = (const uint64_t*)at;
  for (size_t page = 0; page < count; page++) {
    for (size_t i = 0; i < kPageWords; i++) {
      if (words[page * kPageWords + i] == word(region, first + page, i)) continue;
      target_differs("region %u page %zu word %zu: %llx instead of %llx", region, first + page, i,
                     (unsigned long long)words[page * kPageWords + i],
                     (unsigned long long)word(region, first + page, i));
      return false;
    }
  }
  return true;
}

static unsigned char* map_pages(void* at, size_t pages, int flags) {
  void* mapped =
      mmap(at, bytes_of(pages), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  target_require(mapped != MAP_FAILED, "mmap");
  return mapped;
}

static void must(bool condition, const char* what) {
  if (!condition) target_differs("%s: %s", what, strerror(errno));
}

// A child looks at memory that was missing when it was made, some of which it then discards; its own child
// does the same again.
static pid_t fork_that_looks(int depth) {
  pid_t child = fork();
  if (child != 0) return child;
  unsigned char* at = regions[kForked];
  size_t half = region_pages / 2;
  must(madvise(at, bytes_of(half / 2), MADV_DONTNEED) == 0, "MADV_DONTNEED in a child");
  pid_t grandchild = depth > 0 ? fork_that_looks(depth - 1) : 0;
  target_check_zero("memory discarded in a child", at, bytes_of(half / 2));
  holds(kForked, at + bytes_of(half), half, region_pages - half);
  at[bytes_of(half)] ^= 1;  // its own copy
  int status = 0;
  if (grandchild > 0 && (waitpid(grandchild, &status, 0) != grandchild || status != 0))
    target_differs("grandchild ended with %d", status);
  fflush(stdout);
  _exit(target_differences == 0 ? 0 : 1);
}

// One thread moves a region to and fro, others read another one meanwhile.
static void* toss(void* unused) {
  unsigned char* places[2] = {regions[kTossed], map_pages(NULL, region_pages, MAP_NORESERVE)};
  for (int i = 0; i < kMoves; i++) {
    void* moved = mremap(places[i % 2], bytes_of(region_pages), bytes_of(region_pages),
                         MREMAP_MAYMOVE | MREMAP_FIXED, places[(i + 1) % 2]);
    must(moved == places[(i + 1) % 2], "mremap to and fro");
    volatile unsigned char* at = places[(i + 1) % 2];
    (void)at[bytes_of((size_t)i * 37 % region_pages)];
  }
  tossing = false;
  return unused;
}

static void* read_all_over(void* number) {
  uint64_t random = (uintptr_t)number + 1;
  while (tossing) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    size_t page = (random >> 33) % region_pages;
    if (!holds(kForked, regions[kForked] + bytes_of(page), page, 1)) break;
  }
  return NULL;
}

static void discard(void) {
  must(madvise(regions[kDiscarded], bytes_of(region_pages / 2), MADV_DONTNEED) == 0, "MADV_DONTNEED");
}

static unsigned char* move_and_grow(void) {
  unsigned char* place = map_pages(NULL, 2 * region_pages, MAP_NORESERVE);
  void* moved = mremap(regions[kMoved], bytes_of(region_pages), bytes_of(2 * region_pages),
                       MREMAP_MAYMOVE | MREMAP_FIXED, place);
  must(moved == place, "mremap");
  map_pages(regions[kMoved], region_pages, MAP_FIXED_NOREPLACE);
  return place;
}

static void unmap_middle(void) {
  unsigned char* middle = regions[kUnmapped] + bytes_of(region_pages / 4);
  must(munmap(middle, bytes_of(region_pages / 2)) == 0, "munmap");
  map_pages(middle, region_pages / 2, MAP_FIXED_NOREPLACE);
}

static void protect(void) {
  unsigned char* at = regions[kProtected];
  for (size_t page = 0; page + 5 < region_pages; page += 5) {
    int protection = page % 2 == 0 ? PROT_NONE : PROT_READ;
    if (page < 1000) must(mprotect(at + bytes_of(page), 2 * kPageBytes, protection) == 0, "mprotect");
  }
}

static void make_system_calls(int ends[2]) {
  unsigned char* at = regions[kWritten] + bytes_of(10) + 100;
  must(write(ends[1], at, 5000) == 5000, "write from missing memory");
  must(read(ends[0], at + bytes_of(20), 5000) == 5000, "read into missing memory");
  must(write(ends[1], at, kPageBytes) == kPageBytes, "write from missing memory");
}

static void check_system_calls(int ends[2]) {
  unsigned char* at = regions[kWritten] + bytes_of(10) + 100;
  unsigned char copy[kPageBytes];
  must(read(ends[0], copy, sizeof copy) == (ssize_t)sizeof copy, "read");
  target_check_bytes("what was written", copy, at, sizeof copy);
  target_check_bytes("what was read", at + bytes_of(20), at, 5000);
  unsigned char* page = regions[kWritten] + bytes_of(30);
  for (size_t i = 0; i < 96; i++) {
    uint64_t expected = word(kWritten, 30, i / 8);
    if (page[i] != ((unsigned char*)&expected)[i % 8]) target_differs("byte %zu before what was read", i);
  }
  holds(kWritten, regions[kWritten], 0, 30);
  holds(kWritten, regions[kWritten] + bytes_of(32), 32, region_pages - 32);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  size_t mib = argc > 2 ? strtoull(argv[1], NULL, 10) : 256;
  region_pages = mib * (1 << 20) / kPageBytes / kRegions;
  target_require(region_pages >= 1024, "needs 32 MiB or more");
  for (unsigned region = 0; region < kRegions; region++) {
    regions[region] = map_pages(NULL, region_pages, 0);
    // Keeps neighbours apart.
    target_require(mmap(NULL, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED,
                   "mmap");
    fill(region);
  }
  int ends[2];
  target_require(pipe(ends) == 0, "pipe");

  target_ready();
  while (!target_told_to_go(go_file)) target_sleep_ms(1);

  discard();
  unsigned char* moved = move_and_grow();
  unmap_middle();
  protect();
  make_system_calls(ends);
  pid_t child = fork_that_looks(1);
  pthread_t tosser;
  pthread_t readers[kThreads];
  target_require(pthread_create(&tosser, NULL, toss, NULL) == 0, "pthread_create");
  for (uintptr_t i = 0; i < kThreads; i++)
    target_require(pthread_create(&readers[i], NULL, read_all_over, (void*)i) == 0, "pthread_create");
  bool locked = mlock(regions[kLocked], bytes_of(region_pages)) == 0;
  if (!locked && errno != ENOMEM && errno != EPERM) target_differs("mlock: %s", strerror(errno));

  size_t half = region_pages / 2;
  size_t quarter = region_pages / 4;
  pthread_join(tosser, NULL);
  for (unsigned i = 0; i < kThreads; i++) pthread_join(readers[i], NULL);
  target_check_zero("discarded memory", regions[kDiscarded], bytes_of(half));
  holds(kDiscarded, regions[kDiscarded] + bytes_of(half), half, region_pages - half);
  holds(kMoved, moved, 0, region_pages);
  target_check_zero("memory behind what was moved", moved + bytes_of(region_pages), bytes_of(region_pages));
  target_check_zero("memory where it was", regions[kMoved], bytes_of(region_pages));
  holds(kUnmapped, regions[kUnmapped], 0, quarter);
  target_check_zero("memory mapped anew", regions[kUnmapped] + bytes_of(quarter), bytes_of(half));
  holds(kUnmapped, regions[kUnmapped] + bytes_of(quarter + half), quarter + half,
        region_pages - quarter - half);
  must(mprotect(regions[kProtected], bytes_of(region_pages), PROT_READ) == 0, "mprotect back");
  holds(kProtected, regions[kProtected], 0, region_pages);
  check_system_calls(ends);
  holds(kLocked, regions[kLocked], 0, region_pages);
  holds(kForked, regions[kForked], 0, region_pages);
  holds(kTossed, regions[kTossed], 0, region_pages);
  int status = 0;
  must(waitpid(child, &status, 0) == child, "waitpid");
  target_check_number("status of the child", status, 0);
  return target_finish();
}
