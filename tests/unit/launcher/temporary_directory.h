#pragma once

#include <fcntl.h>

#include "base/file_io.h"
#include "support/temporary_directory.h"

namespace ckpt::launcher {

// A directory of the test's own, open, removed with it.
class TemporaryDirectory : public tests::TemporaryDirectory {
 public:
  int descriptor() const { return descriptor_.get(); }

 private:
  UniqueFd descriptor_ = open_or_throw(path(), O_RDONLY | O_DIRECTORY);
};

}  // namespace ckpt::launcher
