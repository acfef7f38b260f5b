// Several threads call every function of the vDSO by the addresses that the program found when it began, as
// libc does, and through libc; what they return lies between what the system calls say before and after.
#include <elf.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "target.h"

enum { kThreads = 4, kNanoseconds = 1000000000, kMicroseconds = 1000000 };

typedef long (*AnyFunction)(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

static struct { AnyFunction clock_gettime, gettimeofday, time, clock_getres, getcpu, getrandom; } vdso;

static struct {
  unsigned size_bytes, protection, flags, reserved[13];
} random_state;  // struct vgetrandom_opaque_params
static bool ended;
static unsigned long calls;

// A vDSO is linked to address 0.
static AnyFunction find_function(const char* wanted) {
  uintptr_t base = (uintptr_t)getauxval(AT_SYSINFO_EHDR);
  if (base == 0) return NULL;
  const ElfW(Ehdr)* header = (const ElfW(Ehdr)*)base;
  const ElfW(Phdr)* segments = (const ElfW(Phdr)*)(base + header->e_phoff);
  const ElfW(Dyn)* entry = NULL;
  for (unsigned i = 0; i < header->e_phnum; i++)
    if (segments[i].p_type == PT_DYNAMIC) entry = (const ElfW(Dyn)*)(base + segments[i].p_offset);
  const ElfW(Sym)* symbols = NULL;
  const char* names = NULL;
  const unsigned* hash = NULL;
  for (; entry != NULL && entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_SYMTAB) symbols = (const ElfW(Sym)*)(base + entry->d_un.d_ptr);
    if (entry->d_tag == DT_STRTAB) names = (const char*)(base + entry->d_un.d_ptr);
    if (entry->d_tag == DT_HASH) hash = (const unsigned*)(base + entry->d_un.d_ptr);
  }
  if (symbols == NULL || names == NULL || hash == NULL) return NULL;
  for (unsigned i = 0; i < hash[1]; i++)
    if (symbols[i].st_value != 0 && strcmp(names + symbols[i].st_name, wanted) == 0)
      return (AnyFunction)(base + symbols[i].st_value);
  return NULL;
}

static long long nanoseconds(const struct timespec* time) {
  return time->tv_sec * (long long)kNanoseconds + time->tv_nsec;
}

static long long time_by_call(clockid_t clock) {
  struct timespec time;
  syscall(SYS_clock_gettime, clock, &time);
  return nanoseconds(&time);
}

static void check_between(const char* what, long long before, long long is, long long after) {
  if (is < before || is > after) target_differs("%s: %lld is not in %lld to %lld", what, is, before, after);
}

static void check_clock(clockid_t clock, const char* what) {
  struct timespec time = {0, 0};
  long long before = time_by_call(clock);
  if (vdso.clock_gettime != NULL) {
    target_check_number(what, vdso.clock_gettime((uintptr_t)clock, (uintptr_t)&time, 0, 0, 0), 0);
    check_between(what, before, nanoseconds(&time), time_by_call(clock));
  }
  before = time_by_call(clock);
  clock_gettime(clock, &time);
  check_between(what, before, nanoseconds(&time), time_by_call(clock));
  struct timespec resolution = {0, 0}, expected = {0, 0};
  syscall(SYS_clock_getres, clock, &expected);
  if (vdso.clock_getres != NULL) {
    target_check_number("clock_getres", vdso.clock_getres((uintptr_t)clock, (uintptr_t)&resolution, 0, 0, 0),
                        0);
    target_check_number("resolution", nanoseconds(&resolution), nanoseconds(&expected));
  }
}

static void check_day(void) {
  long long before = time_by_call(CLOCK_REALTIME) / 1000;
  struct timeval day = {0, 0};
  if (vdso.gettimeofday != NULL) {
    target_check_number("gettimeofday", vdso.gettimeofday((uintptr_t)&day, 0, 0, 0, 0), 0);
    check_between("time of day", before, day.tv_sec * (long long)kMicroseconds + day.tv_usec,
                  time_by_call(CLOCK_REALTIME) / 1000);
  }
  if (vdso.time == NULL) return;
  long long seconds = vdso.time(0, 0, 0, 0, 0);  // before the end of the time that it must be in
  check_between("seconds", before / kMicroseconds - 1, seconds, time_by_call(CLOCK_REALTIME) / kNanoseconds);
}

static void check_processor(void) {
  unsigned processor = ~0U;
  if (vdso.getcpu != NULL) {
    target_check_number("getcpu", vdso.getcpu((uintptr_t)&processor, 0, 0, 0, 0), 0);
    check_between("processor", 0, processor, sysconf(_SC_NPROCESSORS_CONF) - 1);
  }
  check_between("processor by libc", 0, sched_getcpu(), sysconf(_SC_NPROCESSORS_CONF) - 1);
}

// Random numbers that come twice would be the same bytes.
static void check_random(void* state) {
  unsigned char first[32] = {0}, second[32] = {0};
  if (state != NULL) {
    long size = (long)random_state.size_bytes;
    target_check_number("getrandom",
                        vdso.getrandom((uintptr_t)first, sizeof first, 0, (uintptr_t)state, (uintptr_t)size),
                        sizeof first);
    target_check_number(
        "getrandom", vdso.getrandom((uintptr_t)second, sizeof second, 0, (uintptr_t)state, (uintptr_t)size),
        sizeof second);
    if (memcmp(first, second, sizeof first) == 0) target_differs("the same random numbers twice");
  }
  target_check_number("getrandom by libc", getrandom(first, sizeof first, 0), sizeof first);
}

static void* make_random_state(void) {
  if (vdso.getrandom == NULL || vdso.getrandom(0, 0, 0, (uintptr_t)&random_state, ~(uintptr_t)0) != 0)
    return NULL;
  void* state = mmap(NULL, 4096, (int)random_state.protection, (int)random_state.flags, -1, 0);
  return state == MAP_FAILED ? NULL : state;
}

static void* call_all(void* unused) {
  void* state = make_random_state();
  while (!__atomic_load_n(&ended, __ATOMIC_ACQUIRE)) {
    for (int i = 0; i < 20; i++) {
      check_clock(CLOCK_REALTIME, "realtime");
      check_clock(CLOCK_MONOTONIC, "monotonic");
      check_clock(CLOCK_BOOTTIME, "boot time");
      check_clock(CLOCK_MONOTONIC_COARSE, "coarse");
      check_day();
      check_processor();
      check_random(state);
      __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
    }
    target_sleep_ms(1);  // outside of the vDSO most of the time
  }
  return unused;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  vdso.clock_gettime = find_function("__vdso_clock_gettime");
  vdso.gettimeofday = find_function("__vdso_gettimeofday");
  vdso.time = find_function("__vdso_time");
  vdso.clock_getres = find_function("__vdso_clock_getres");
  vdso.getcpu = find_function("__vdso_getcpu");
  vdso.getrandom = find_function("__vdso_getrandom");
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; i++)
    target_require(pthread_create(&threads[i], NULL, call_all, NULL) == 0, "pthread_create");
  target_ready();
  target_wait(go_file);
  unsigned long before = __atomic_load_n(&calls, __ATOMIC_RELAXED);
  while (__atomic_load_n(&calls, __ATOMIC_RELAXED) < before + 200) target_sleep_ms(1);
  __atomic_store_n(&ended, true, __ATOMIC_RELEASE);
  for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
  return target_finish();
}
