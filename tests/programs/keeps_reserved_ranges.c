// Huge reserved ranges stay reserved, stay cheap, and keep the few pages that were used in them.
#include <sys/mman.h>

#include "target.h"

static const size_t kReservedBytes = (size_t)64 << 30;
static const size_t kStrideBytes = (size_t)5 << 30;
enum { kPageBytes = 4096, kUsedPages = 12, kMaxResidentKib = 64 * 1024, kMaxPageTableKib = 4096 };

static long status_kib(const char* key) {
  FILE* status = fopen("/proc/self/status", "re");
  target_require(status != NULL, "/proc/self/status");
  char line[256];
  long value = -1;
  while (fgets(line, sizeof line, status) != NULL) {
    if (strncmp(line, key, strlen(key)) == 0) value = strtol(line + strlen(key), NULL, 10);
  }
  fclose(status);
  return value;
}

static void check_still_reserved(const char* what, unsigned char* at) {
  for (size_t offset = 0; offset < kReservedBytes; offset += kStrideBytes) {
    void* taken =
        mmap(at + offset, kPageBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (taken == MAP_FAILED && errno == EEXIST) continue;
    target_differs("%s is not reserved at %p", what, (void*)(at + offset));
  }
}

static void check_small(const char* key, long limit_kib) {
  long kib = status_kib(key);
  if (kib < 0 || kib > limit_kib) target_differs("%s %ld KiB, more than %ld KiB", key, kib, limit_kib);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  unsigned char* reserved =
      mmap(NULL, kReservedBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  unsigned char* sparse =
      mmap(NULL, kReservedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  target_require(reserved != MAP_FAILED && sparse != MAP_FAILED, "reserving 64 GiB");
  for (unsigned page = 0; page < kUsedPages; page++)
    target_fill(sparse + page * kStrideBytes, kPageBytes, page);

  target_ready();
  target_wait(go_file);

  check_small("VmRSS:", kMaxResidentKib);
  check_small("VmPTE:", kMaxPageTableKib);
  check_still_reserved("memory without access", reserved);
  check_still_reserved("sparse memory", sparse);
  for (unsigned page = 0; page < kUsedPages; page++) {
    unsigned char* used = sparse + page * kStrideBytes;
    target_check_pattern("sparse memory", used, kPageBytes, page);
    target_check_zero("unused sparse memory", used + kPageBytes, kPageBytes);
  }
  // Room for use: a part of the reservation becomes memory.
  target_require(mprotect(reserved + kStrideBytes, kPageBytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
  target_check_zero("reserved memory made accessible", reserved + kStrideBytes, kPageBytes);
  reserved[kStrideBytes] = 1;
  return target_finish();
}
