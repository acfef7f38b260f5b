// A program without dynamic linker, preloads or shared C library: threads count, each in memory of its own.
#include <pthread.h>

#include "target.h"

enum { kThreads = 4 };

static _Thread_local uint64_t own_count;
static uint64_t counts[kThreads];
static const char* go_file;

static void* count(void* argument) {
  uint64_t* shared_count = argument;
  while (!target_told_to_go(go_file)) {
    target_sleep_ms(10);
    own_count++;
    ++*shared_count;
    if (own_count == *shared_count) continue;
    target_differs("thread-local count %llu, shared count %llu", (unsigned long long)own_count,
                   (unsigned long long)*shared_count);
    break;
  }
  return (void*)own_count;
}

int main(int argc, char** argv) {
  go_file = target_go_file(argc, argv);
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++) {
    target_require(pthread_create(&threads[i], NULL, count, &counts[i]) == 0, "pthread_create");
  }
  target_ready();
  for (uint64_t round = 0; !target_told_to_go(go_file); round++) {
    printf("count %llu\n", (unsigned long long)round);
    fflush(stdout);
    target_sleep_ms(10);
  }
  for (int i = 0; i < kThreads; i++) {
    void* result = NULL;
    pthread_join(threads[i], &result);
    target_check_number("count that a thread returned", (long long)(uintptr_t)result, (long long)counts[i]);
  }
  return target_finish();
}
