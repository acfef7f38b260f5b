#pragma once

#include <string>
#include <string_view>

namespace ckpt::launcher {

// "SIGUSR1", "usr1", "10", "RTMIN+2". Throws Error if it is none.
int parse_signal(std::string_view text);

// "SIGUSR1", "SIGRTMIN+2"
std::string signal_name(int signal);

}  // namespace ckpt::launcher
