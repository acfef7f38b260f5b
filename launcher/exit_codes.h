// How ckptrun ends: as the program does, or with one of its own codes.
#pragma once

#include <string>

#include "base/error.h"

namespace ckpt::launcher {

inline constexpr int kExitSuspended =
    75;  // checkpointed and ended on purpose: recover resumes it (EX_TEMPFAIL)
inline constexpr int kExitOwnFailure = 125;
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;

// How a program ended.
struct ProgramEnd {
  bool signalled = false;
  int code = 0;  // exit status, or the signal's number

  bool operator==(const ProgramEnd&) const = default;
};

// `wait_status` as waitpid() returns it for a program that ended.
ProgramEnd program_end(int wait_status);

int exit_code(const ProgramEnd& end);  // exit status, or 128 + signal
std::string describe(const ProgramEnd& end);

// 127 where the program does not exist, else 126.
int exit_code_for_exec_error(int code);

// An Error that ends our own process with a particular exit code.
class ExitError : public Error {
 public:
  ExitError(const std::string& message, int exit_code) : Error(message), exit_code_(exit_code) {}
  int exit_code() const noexcept { return exit_code_; }

 private:
  int exit_code_;
};

}  // namespace ckpt::launcher
