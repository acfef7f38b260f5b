// Makes a captured version durable in a thread of its own, so that the supervisor keeps serving signals and
// exits while gigabytes are synced. Between start() and finish() the Application and the writer belong to
// that thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

struct CommitWork {
  std::unique_ptr<store::CheckpointWriter> writer;
  std::vector<std::byte> image;
  std::vector<UniqueFd> files_to_sync;
  store::VersionDescription description;
  std::size_t keep = 3;
};

struct CommitResult {
  std::string error;            // empty: the version is durable
  std::string retention_error;  // the version is durable all the same
  store::VersionDescription description;
};

class CommitJob {
 public:
  CommitJob();

  void start(store::Application& application, CommitWork work);
  bool busy() const { return thread_.joinable(); }
  int fd() const { return done_.get(); }  // readable once the work is done
  // Waits for the end if need be.
  CommitResult finish();

 private:
  UniqueFd done_;
  CommitResult result_;
  std::jthread thread_;  // last: joined before what it uses goes away
};

// Brings what the program wrote to its regular files to disk, before a version that relies on it is reported
// durable. File systems that cannot sync are none of our business; any other failure throws Error.
void sync_files(const std::vector<UniqueFd>& files);

}  // namespace ckpt::launcher
