#include "launcher/program_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "launcher/exit_codes.h"
#include "temporary_directory.h"

namespace ckpt::launcher {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ProgramFile : public testing::Test {
 protected:
  std::string make(const std::string& name, mode_t mode, const std::string& content) {
    std::string path = directory_.path() + "/" + name;
    std::ofstream(path) << content;
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    return path;
  }

  static int refusal(const std::string& program) {
    try {
      find_program(program);
    } catch (const ExitError& error) {
      return error.exit_code();
    }
    return 0;
  }

  TemporaryDirectory directory_;
};

TEST_F(ProgramFile, MissingIs127AndNotExecutableIs126) {
  EXPECT_EQ(refusal("/nonexistent/program"), 127);
  EXPECT_EQ(refusal("surely-no-such-program"), 127);
  EXPECT_EQ(refusal(""), 127);
  EXPECT_EQ(refusal(make("data", 0600, "x")), 126);
  EXPECT_EQ(refusal(directory_.path()), 126);
}

TEST_F(ProgramFile, IsFoundInThePath) {
  EXPECT_THAT(find_program("sh"), testing::EndsWith("/sh"));
  EXPECT_EQ(find_program("/bin/sh"), "/bin/sh");
}

TEST_F(ProgramFile, InterpreterLineHasTwoWordsAtMost) {
  EXPECT_THAT(interpreter_line("#!/bin/sh\nrest"), ElementsAre("/bin/sh"));
  EXPECT_THAT(interpreter_line("#! /usr/bin/env  python3 -u \nrest"),
              ElementsAre("/usr/bin/env", "python3 -u"));
  EXPECT_THAT(interpreter_line("#!/bin/sh"), ElementsAre("/bin/sh"));
  EXPECT_THAT(interpreter_line("#!\n"), IsEmpty());
  EXPECT_THAT(interpreter_line("\x7f"
                               "ELF"),
              IsEmpty());
}

TEST_F(ProgramFile, PrivilegedProgramsAreRefused) {
  EXPECT_NO_THROW(refuse_privileged(make("plain", 0700, "#!/bin/sh\n")));
  std::string set_uid = make("set-uid", 04755, "x");
  EXPECT_THROW(refuse_privileged(set_uid), Error);
  EXPECT_THROW(refuse_privileged(make("set-gid", 02755, "x")), Error);
  std::string script = make("script", 0700, "#!" + set_uid + " -x\n");
  EXPECT_THROW(refuse_privileged(script), Error);
  EXPECT_THROW(refuse_privileged(make("script-of-script", 0700, "#! " + script + "\n")), Error);
}

}  // namespace
}  // namespace ckpt::launcher
