#include "engine/capture/memory_layout.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt::engine {
namespace {

// Fields of /proc/PID/stat by their number in proc_pid_stat(5); the command may contain blanks and brackets.
std::vector<std::uint64_t> stat_fields(pid_t pid) {
  std::string text = read_file(fmt::format("/proc/{}/stat", pid));
  std::size_t close = text.rfind(')');
  if (close == std::string::npos) throw Error(fmt::format("/proc/{}/stat cannot be understood", pid));
  std::vector<std::uint64_t> fields(3, 0);
  std::string_view rest = std::string_view(text).substr(close + 2);
  while (!rest.empty()) {
    std::string_view field = rest.substr(0, rest.find_first_of(" \n"));
    rest.remove_prefix(std::min(rest.size(), field.size() + 1));
    fields.push_back(parse_unsigned(field).value_or(0));
  }
  if (fields.size() < 52) throw Error(fmt::format("/proc/{}/stat has only {} fields", pid, fields.size()));
  return fields;
}

}  // namespace

void save_memory_layout(pid_t pid, RemoteQueries& queries, image::ProcessT& process) {
  std::vector<std::uint64_t> fields = stat_fields(pid);
  // The third field (state) is the first after the command: fields[3].
  auto field = [&fields](std::size_t number) { return fields.at(number); };
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
