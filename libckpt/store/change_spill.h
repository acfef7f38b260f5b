// Changes that do not fit in memory: a file without a name beside the segments holds them until the tree is
// built. So the first version of a program of any size takes no more memory than that of a small one, but for
// about 100 bytes per 2 MiB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "store/page_changes.h"

namespace ckpt::store {

// For one writer. Throws Error if the store is full.
class ChangeSpill {
 public:
  ChangeSpill(int directory, const std::string& directory_path)
      : directory_(directory), path_(directory_path + "/" + kName) {}

  // Moves the pages of a leaf to the file, together with those that are there already.
  void store(LeafChanges& leaf);
  // Brings them back. Does nothing if there are none.
  void load(LeafChanges& leaf);

 private:
  static constexpr const char* kName = ".tmp-changes";  // removed like any unfinished segment
  static constexpr std::size_t kBufferBytes = 1U << 20;
  void open();
  void flush();

  int directory_;
  std::string path_;
  UniqueFd fd_;  // none: nothing was stored yet
  std::vector<std::byte> buffer_;
  std::uint64_t written_ = 0;
};

}  // namespace ckpt::store
