#include "base/unique_fd.h"

#include <unistd.h>

namespace ckpt {

// Descriptors whose close() can report lost data (files written) are closed explicitly by their users;
// for the rest there is nothing to do about a failure here (close(2), "Dealing with error returns").
void UniqueFd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

}  // namespace ckpt
