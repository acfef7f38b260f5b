// Entry point. The supervisor places the code, points rdi at a plan and lets it run; the kernel, when
// somebody executes the file by hand, starts programs with rdi zero.
#include <linux/unistd.h>

#include "executor.h"
#include "raw_syscall.h"

using ckpt::restorer::raw_syscall;

extern "C" [[noreturn]] void ckpt_restorer_start(ckpt::plan::PlanHeader* header) {
  if (header == nullptr) {
    static constexpr char kMessage[] =
        "ckpt-restorer: this is a part of ckptrun; run ckptrun --recover instead\n";
    raw_syscall(__NR_write, {2, reinterpret_cast<std::uint64_t>(kMessage), sizeof(kMessage) - 1, 0, 0, 0});
    for (;;) raw_syscall(__NR_exit_group, {125, 0, 0, 0, 0, 0});
  }
  ckpt::restorer::execute(header);
  for (;;) asm volatile("int3");
}
