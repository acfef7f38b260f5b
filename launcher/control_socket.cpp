#include "launcher/control_socket.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace ckpt::launcher {

sockaddr_un control_address(int directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = fmt::format("/proc/self/fd/{}/{}", directory, kControlFile);
  std::ranges::copy(path, address.sun_path);
  return address;
}

}  // namespace ckpt::launcher
