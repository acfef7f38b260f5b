#include "engine/capture/memory_layout.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <memory>
#include <string>

#include "base/file_io.h"

namespace ckpt::engine {

void save_memory_layout(pid_t pid, const ProcStat& stat, RemoteQueries& queries, image::ProcessT& process) {
  auto field = [&stat](std::size_t number) { return static_cast<std::uint64_t>(stat.field(number)); };
  process.layout = std::make_unique<image::MemoryLayoutT>();
  image::MemoryLayoutT* layout = process.layout.get();
  layout->start_code = field(26);
  layout->end_code = field(27);
  layout->start_stack = field(28);
  layout->start_data = field(45);
  layout->end_data = field(46);
  layout->start_brk = field(47);
  layout->arg_start = field(48);
  layout->arg_end = field(49);
  layout->env_start = field(50);
  layout->env_end = field(51);
  queries.ask(SYS_brk, {0}, [layout](std::int64_t end) { layout->brk = static_cast<std::uint64_t>(end); });
  queries.ask(SYS_prctl, {PR_GET_THP_DISABLE, 0, 0, 0, 0},
              [layout](std::int64_t disabled) { layout->thp_disabled = disabled == 1; });
  std::string auxv = read_file(fmt::format("/proc/{}/auxv", pid));
  layout->auxv.assign(auxv.begin(), auxv.end());
}

}  // namespace ckpt::engine
