// Where the control socket of an application is. Its path may be longer than a socket address holds (108
// bytes), so it is always named through the descriptor of its directory.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

namespace ckpt::launcher {

inline constexpr const char* kControlFile = "control";

sockaddr_un control_address(int directory);

}  // namespace ckpt::launcher
