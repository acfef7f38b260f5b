// The vDSO is where it was: a pointer into it that the program remembered still tells the time.
#include <elf.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "target.h"

typedef int (*ClockGettime)(clockid_t, struct timespec*);

static const void* in_image(uintptr_t base, uint64_t address) { return (const void*)(base + address); }

static ClockGettime find_clock_gettime(uintptr_t base) {
  const Elf64_Ehdr* header = in_image(base, 0);
  const Elf64_Phdr* segments = in_image(base, header->e_phoff);
  const Elf64_Dyn* dynamic = NULL;
  for (unsigned i = 0; i < header->e_phnum; i++) {
    if (segments[i].p_type == PT_DYNAMIC) dynamic = in_image(base, segments[i].p_offset);
  }
  const Elf64_Sym* symbols = NULL;
  const char* names = NULL;
  const Elf64_Word* hash = NULL;
  const Elf64_Word* gnu_hash = NULL;
  for (; dynamic != NULL && dynamic->d_tag != DT_NULL; dynamic++) {
    if (dynamic->d_tag == DT_SYMTAB) symbols = in_image(base, dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_STRTAB) names = in_image(base, dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_HASH) hash = in_image(base, dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_GNU_HASH) gnu_hash = in_image(base, dynamic->d_un.d_ptr);
  }
  target_require(symbols != NULL && names != NULL && (hash != NULL || gnu_hash != NULL),
                 "no symbols in the vDSO");
  // Without the old hash table, which counts the symbols: the names follow the symbols.
  size_t count = hash != NULL ? hash[1] : (size_t)(names - (const char*)symbols) / sizeof *symbols;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names + symbols[i].st_name, "__vdso_clock_gettime") == 0) {
      return (ClockGettime)(base + symbols[i].st_value);
    }
  }
  return NULL;
}

static int64_t nanoseconds(struct timespec time) { return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec; }

// Called through the pointer, a time lies between two that the kernel tells.
static void check_clock(ClockGettime through_vdso, clockid_t clock, const char* what) {
  struct timespec before;
  struct timespec time;
  struct timespec after;
  syscall(SYS_clock_gettime, clock, &before);
  target_check_number(what, through_vdso(clock, &time), 0);
  syscall(SYS_clock_gettime, clock, &after);
  if (nanoseconds(time) < nanoseconds(before) || nanoseconds(time) > nanoseconds(after)) {
    target_differs("%s through the vDSO %lld, not between %lld and %lld", what, (long long)nanoseconds(time),
                   (long long)nanoseconds(before), (long long)nanoseconds(after));
  }
}

static void check_clocks(ClockGettime through_vdso) {
  for (int i = 0; i < 1000; i++) {
    check_clock(through_vdso, CLOCK_MONOTONIC, "CLOCK_MONOTONIC");
    check_clock(through_vdso, CLOCK_REALTIME, "CLOCK_REALTIME");
    check_clock(through_vdso, CLOCK_BOOTTIME, "CLOCK_BOOTTIME");
  }
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  uintptr_t base = getauxval(AT_SYSINFO_EHDR);
  target_require(base != 0, "no vDSO");
  ClockGettime through_vdso = find_clock_gettime(base);
  target_require(through_vdso != NULL, "no clock_gettime in the vDSO");
  check_clocks(through_vdso);
  int64_t before = target_now_ns(CLOCK_MONOTONIC);

  target_ready();
  target_wait(go_file);

  check_clocks(through_vdso);
  if (target_now_ns(CLOCK_MONOTONIC) < before) target_differs("CLOCK_MONOTONIC went backwards");
  target_check_number("AT_SYSINFO_EHDR", (long long)getauxval(AT_SYSINFO_EHDR), (long long)base);
  return target_finish();
}
