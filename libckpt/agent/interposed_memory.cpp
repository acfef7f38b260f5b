// mmap(): address space that is reserved, and by whom. See intent.h for the rules.
//
// Allocators call it when nothing works yet, dlsym() included, so it goes straight to the kernel; nothing is
// known of a library that needs to see a program's mmap() besides.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/intent.h"
#include "agent/public.h"

namespace {

void* map(void* address, size_t size_bytes, int protection, int flags, int descriptor, off_t offset,
          const void* caller) {
  long result = syscall(SYS_mmap, address, size_bytes, protection, flags, descriptor, offset);
  auto* mapped = reinterpret_cast<void*>(result);
  bool reserves = (flags & MAP_ANONYMOUS) != 0 && (protection == PROT_NONE || (flags & MAP_NORESERVE) != 0);
  if (mapped != MAP_FAILED && reserves) ckpt::agent::note_reserved(mapped, size_bytes, caller);
  return mapped;
}

}  // namespace

CKPT_PUBLIC void* mmap(void* address, size_t size_bytes, int protection, int flags, int descriptor,
                       off_t offset) noexcept {
  return map(address, size_bytes, protection, flags, descriptor, offset, __builtin_return_address(0));
}

CKPT_PUBLIC void* mmap64(void* address, size_t size_bytes, int protection, int flags, int descriptor,
                         off64_t offset) noexcept {
  return map(address, size_bytes, protection, flags, descriptor, offset, __builtin_return_address(0));
}
