// How a program tells its supervisor to look at what they share (agent/agent_table.h): it sets the times of
// the symbolic link `wake` in the application's directory. That takes one system call and no descriptor, and
// works from other namespaces. The link's text is our process id, by which the program sees whether we still
// live.
#pragma once

#include "base/unique_fd.h"

namespace ckpt::launcher {

class WakeFile {
 public:
  // The caller holds the run lock, so a link found there is a dead one. `directory` outlives this.
  explicit WakeFile(int directory);
  ~WakeFile();
  WakeFile(const WakeFile&) = delete;
  WakeFile& operator=(const WakeFile&) = delete;

  int fd() const { return watch_.get(); }  // readable: somebody calls
  bool called();                           // since it was asked last

 private:
  int directory_;
  UniqueFd watch_;
};

}  // namespace ckpt::launcher
