#include "launcher/exit_codes.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <cerrno>

#include "launcher/signal_names.h"

namespace ckpt::launcher {

ProgramEnd program_end(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.signalled = true, .code = WTERMSIG(wait_status)};
  return {.signalled = false, .code = WEXITSTATUS(wait_status)};
}

int exit_code(const ProgramEnd& end) { return end.signalled ? 128 + end.code : end.code; }

std::string describe(const ProgramEnd& end) {
  return end.signalled ? fmt::format("killed by {}", signal_name(end.code))
                       : fmt::format("exit status {}", end.code);
}

int exit_code_for_exec_error(int code) { return code == ENOENT ? kExitNotFound : kExitNotExecutable; }

}  // namespace ckpt::launcher
