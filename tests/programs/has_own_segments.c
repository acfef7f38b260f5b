// A segment in the local descriptor table, as programs that run 16- or 32-bit code make: refused.
#include <asm/ldt.h>
#include <sys/syscall.h>

#include "target.h"

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  struct user_desc segment = {.entry_number = 0, .base_addr = 0x1000, .limit = 0xfffff, .seg_32bit = 1};
  target_require(syscall(SYS_modify_ldt, 1, &segment, sizeof segment) == 0, "modify_ldt");
  target_ready();
  target_wait(go_file);
  return target_finish();
}
