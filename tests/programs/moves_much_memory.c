// Needs much memory, and moves it: arrays that grow where they cannot stay, memory that is given back and
// taken again, and children that look at their copy of it. Every word says where it belongs. Prints "built",
// then a line for each round until the file GO exists, and at last "ok"; or what it found.
//
//   moves_much_memory MIB GO
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kArrays = 24, kPage = 4096, kWordsPerPage = kPage / 8 };

struct array {
  uint64_t* words;
  size_t pages;
  uint64_t generation;
};

static struct array arrays[kArrays];
static uint64_t random_state = 12345;

static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static uint64_t word_of(size_t number, size_t page) {
  return arrays[number].generation * 1000003 + number * 65537 * 4099 + page * 31 + 1;
}

static void fill(size_t number, size_t first, size_t end) {
  for (size_t page = first; page < end; ++page) {
    uint64_t* words = arrays[number].words + page * kWordsPerPage;
    for (size_t i = 0; i < kWordsPerPage; i += 64) words[i] = word_of(number, page) + i;
  }
}

static int check(size_t number, size_t page) {
  const uint64_t* words = arrays[number].words + page * kWordsPerPage;
  for (size_t i = 0; i < kWordsPerPage; i += 64) {
    if (words[i] == word_of(number, page) + i) continue;
    printf("array %zu page %zu word %zu: %llx instead of %llx\n", number, page, i,
           (unsigned long long)words[i], (unsigned long long)(word_of(number, page) + i));
    fflush(stdout);
    return 0;
  }
  return 1;
}

static int check_all(void) {
  int same = 1;
  for (size_t number = 0; number < kArrays; ++number) {
    for (size_t page = 0; page < arrays[number].pages; ++page) same &= check(number, page);
  }
  return same;
}

static void* map(size_t pages) {
  void* memory = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return memory;
}

// As realloc() does with what is large: to another place, without touching it.
static void move_and_grow(size_t number) {
  struct array* array = &arrays[number];
  size_t more = next_random() % 64 + 1;
  void* place = map(array->pages + more);
  void* moved = mremap(array->words, array->pages * kPage, (array->pages + more) * kPage,
                       MREMAP_MAYMOVE | MREMAP_FIXED, place);
  if (moved == MAP_FAILED) {
    perror("mremap");
    exit(1);
  }
  array->words = moved;
  array->pages += more;
  fill(number, array->pages - more, array->pages);
}

static void give_back_and_fill(size_t number) {
  struct array* array = &arrays[number];
  madvise(array->words, array->pages * kPage, MADV_DONTNEED);
  for (size_t page = 0; page < array->pages; page += 7) {
    if (array->words[page * kWordsPerPage] != 0) {
      printf("array %zu page %zu is not empty\n", number, page);
      fflush(stdout);
    }
  }
  size_t gone = array->pages / 4;
  if (gone > 0) munmap(array->words + (array->pages - gone) * kWordsPerPage, gone * kPage);
  array->pages -= gone;
  ++array->generation;
  fill(number, 0, array->pages);
}

static void look_in_child(void) {
  pid_t child = fork();
  if (child < 0) {
    perror("fork");
    exit(1);
  }
  if (child == 0) {
    int same = 1;
    for (int i = 0; i < 200; ++i) {
      size_t number = next_random() % kArrays;
      same &= check(number, next_random() % arrays[number].pages);
    }
    fill(next_random() % kArrays, 0, 16);
    _exit(same ? 0 : 1);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) {
    printf("the child found something: status %d\n", status);
    fflush(stdout);
  }
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  size_t pages = (size_t)atol(argv[1]) * 256 / kArrays;
  for (size_t number = 0; number < kArrays; ++number) {
    arrays[number].pages = pages;
    arrays[number].words = map(pages);
    fill(number, 0, pages);
  }
  puts("built");
  fflush(stdout);
  int same = 1;
  for (unsigned round = 1; access(argv[2], F_OK) != 0; ++round) {
    for (int i = 0; i < 2000; ++i) {
      size_t number = next_random() % kArrays;
      size_t page = next_random() % arrays[number].pages;
      same &= check(number, page);
    }
    move_and_grow(next_random() % kArrays);
    give_back_and_fill(next_random() % kArrays);
    look_in_child();
    printf("round %u\n", round);
    fflush(stdout);
  }
  same &= check_all();
  puts(same ? "ok" : "differs");
  return 0;
}
