#include <unistd.h>

#include <exception>
#include <string>
#include <vector>

#include "launcher/exit_codes.h"
#include "launcher/messages.h"
#include "launcher/store_command_line.h"

int main(int argc, char** argv) {
  using namespace ckpt::launcher;
  try {
    return run_store_command(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    Messages("ckpt", STDERR_FILENO).line(error.what());
    return kExitOwnFailure;
  }
}
