#include "launcher/messages.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace ckpt::launcher {

// One write per line, so that lines of the program and ours do not mix. A standard error that cannot be
// written leaves nobody to tell.
void Messages::line(std::string_view text) {
  std::string out = fmt::format("{}: {}", prefix_, text);
  std::ranges::replace(out, '\n', ' ');
  out += '\n';
  std::string_view rest = out;
  while (!rest.empty()) {
    ssize_t put = ::write(fd_, rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return;
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
}

void Messages::line_once(const std::string& text) {
  if (repeats_.insert(text).second) line(text);
}

}  // namespace ckpt::launcher
