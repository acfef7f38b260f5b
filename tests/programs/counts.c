// The simplest program: counts on the heap, the stack and in static memory, aloud, and notices when they
// part.
#include "target.h"

static uint64_t static_count;

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  uint64_t* heap_count = calloc(1, sizeof *heap_count);
  target_require(heap_count != NULL, "calloc");
  volatile uint64_t stack_count = 0;
  int64_t before_ns = target_now_ns(CLOCK_MONOTONIC);

  target_ready();
  while (!target_told_to_go(go_file)) {
    target_sleep_ms(10);
    stack_count++;
    static_count++;
    ++*heap_count;
    if (static_count != stack_count || *heap_count != stack_count) {
      target_differs("counts part: %llu on the stack, %llu static, %llu on the heap",
                     (unsigned long long)stack_count, (unsigned long long)static_count,
                     (unsigned long long)*heap_count);
      break;
    }
    printf("count %llu\n", (unsigned long long)stack_count);
    fflush(stdout);
  }
  int64_t after_ns = target_now_ns(CLOCK_MONOTONIC);
  if (after_ns - before_ns < (int64_t)stack_count * 10000000) {
    target_differs("%llu sleeps of 10 ms took only %lld ns", (unsigned long long)stack_count,
                   (long long)(after_ns - before_ns));
  }
  free(heap_count);
  return target_finish();
}
