// Large memory that changes all the time and is verified all the time: every page holds its number and
// generation and words that follow from both; what the generation must be is kept apart. A page that is older
// or newer than the program believes, or torn, is noticed within a sweep.
//
//   holds_256_mib [MIB] GO_FILE     default: 256
#include <pthread.h>
#include <sys/mman.h>

#include "target.h"

enum {
  kPageBytes = 4096,
  kPageWords = kPageBytes / 8,
  kThreads = 2,
  kChangesPerStep = 128,
  kStepPages = 2048
};

struct Part {
  uint64_t first_page, page_count;
  uint64_t (*pages)[kPageWords];
  uint32_t* generations;
  uint64_t random;
  uint64_t sweeps;
};

static const char* go_file;
static struct Part parts[kThreads];

static uint64_t word(uint64_t page, uint64_t generation, uint64_t index) {
  return (page * 0x9e3779b97f4a7c15u) ^ (generation * 0xc2b2ae3d27d4eb4fu) ^ (index * 0x165667b19e3779f9u);
}

static void write_page(struct Part* part, uint64_t page) {
  uint64_t generation = ++part->generations[page];
  for (uint64_t i = 0; i < kPageWords; i++)
    part->pages[page][i] = word(part->first_page + page, generation, i);
}

static bool check_page(const struct Part* part, uint64_t page) {
  uint64_t generation = part->generations[page];
  for (uint64_t i = 0; i < kPageWords; i++) {
    uint64_t expected = word(part->first_page + page, generation, i);
    if (part->pages[page][i] == expected) continue;
    target_differs("page %llu at %p, generation %llu, word %llu: %llx instead of %llx",
                   (unsigned long long)(part->first_page + page), (void*)part->pages[page],
                   (unsigned long long)generation, (unsigned long long)i,
                   (unsigned long long)part->pages[page][i], (unsigned long long)expected);
    return false;
  }
  return true;
}

static uint64_t next_random(struct Part* part) {
  part->random = part->random * 6364136223846793005u + 1442695040888963407u;
  return part->random >> 33;
}

// A failed check ends the program at once: what it then holds is what there is to look at.
static void check_pages(const struct Part* part, uint64_t first, uint64_t count) {
  for (uint64_t page = first; page < first + count && page < part->page_count; page++) {
    if (!check_page(part, page)) exit(1);
  }
}

static void* change_and_check(void* argument) {
  struct Part* part = argument;
  for (uint64_t at = 0; !target_told_to_go(go_file); at = (at + kStepPages) % part->page_count) {
    for (int i = 0; i < kChangesPerStep; i++) write_page(part, next_random(part) % part->page_count);
    check_pages(part, at, kStepPages);
    if (at + kStepPages >= part->page_count) __atomic_add_fetch(&part->sweeps, 1, __ATOMIC_RELAXED);
    target_sleep_ms(2);
  }
  check_pages(part, 0, part->page_count);
  return NULL;
}

static void set_up(struct Part* part, uint64_t number, uint64_t page_count) {
  part->first_page = number * page_count;
  part->page_count = page_count;
  part->random = number + 1;
  part->pages =
      mmap(NULL, page_count * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  part->generations = calloc(page_count, sizeof *part->generations);
  target_require(part->pages != MAP_FAILED && part->generations != NULL, "memory");
  for (uint64_t page = 0; page < page_count; page++) write_page(part, page);
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  uint64_t mib = argc > 2 ? strtoull(argv[1], NULL, 10) : 256;
  target_require(mib > 0, "needs a size in MiB");
  pthread_t threads[kThreads];
  for (uint64_t i = 0; i < kThreads; i++) set_up(&parts[i], i, mib * (1 << 20) / kPageBytes / kThreads);
  for (uint64_t i = 0; i < kThreads; i++) {
    target_require(pthread_create(&threads[i], NULL, change_and_check, &parts[i]) == 0, "pthread_create");
  }
  target_ready();
  while (!target_told_to_go(go_file)) {
    target_sleep_ms(50);
    printf("count %llu sweeps\n", (unsigned long long)__atomic_load_n(&parts[0].sweeps, __ATOMIC_RELAXED));
    fflush(stdout);
  }
  for (uint64_t i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  return target_finish();
}
