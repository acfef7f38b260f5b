#include "launcher/exit_codes.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>

#include "base/error.h"
#include "launcher/signal_names.h"

namespace ckpt::launcher {
namespace {

TEST(ExitCodes, AreTheProgramsOwn) {
  EXPECT_EQ(exit_code(program_end(0)), 0);
  EXPECT_EQ(exit_code(program_end(42 << 8)), 42);
  EXPECT_EQ(exit_code(program_end(SIGKILL)), 137);
  EXPECT_EQ(exit_code(program_end(SIGSEGV | 0x80)), 139);  // with a core dump
}

TEST(ExitCodes, TellMissingFromNotExecutable) {
  EXPECT_EQ(exit_code_for_exec_error(ENOENT), 127);
  for (int code : {EACCES, ENOEXEC, ENOTDIR, ELOOP}) EXPECT_EQ(exit_code_for_exec_error(code), 126);
}

TEST(SignalNames, AreReadInEverySpelling) {
  for (const char* text : {"USR1", "SIGUSR1", "usr1", "sigusr1", "10"})
    EXPECT_EQ(parse_signal(text), SIGUSR1) << text;
  EXPECT_EQ(parse_signal("RTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(parse_signal("RTMIN"), SIGRTMIN);
  for (const char* wrong : {"", "SIG", "0", "65", "-1", "NOPE", "RTMIN+99", "RTMIN-1"}) {
    EXPECT_THROW(parse_signal(wrong), Error) << wrong;
  }
}

TEST(SignalNames, AreReadBack) {
  for (int signal : {SIGHUP, SIGTERM, SIGRTMIN, SIGRTMIN + 5})
    EXPECT_EQ(parse_signal(signal_name(signal)), signal);
}

}  // namespace
}  // namespace ckpt::launcher
