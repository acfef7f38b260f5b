#pragma once

#include <fcntl.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "base/file_io.h"

namespace ckpt::launcher {

// A directory of the test's own, removed with it.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "launcher-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    descriptor_ = open_or_throw(path_, O_RDONLY | O_DIRECTORY);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }
  int descriptor() const { return descriptor_.get(); }

 private:
  std::string path_;
  UniqueFd descriptor_;
};

}  // namespace ckpt::launcher
