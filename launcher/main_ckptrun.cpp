#include <unistd.h>

#include <exception>
#include <string>
#include <vector>

#include "launcher/exit_codes.h"
#include "launcher/launch.h"
#include "launcher/messages.h"

int main(int argc, char** argv) {
  using namespace ckpt::launcher;
  try {
    return launch(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const ExitError& error) {
    Messages("ckptrun", STDERR_FILENO).line(error.what());
    return error.exit_code();
  } catch (const std::exception& error) {
    Messages("ckptrun", STDERR_FILENO).line(error.what());
    return kExitOwnFailure;
  }
}
