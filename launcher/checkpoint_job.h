// One checkpoint from capture to durability. Short steps run in the supervisor's thread, which owns the
// engine's tracee; long ones (copying while the program runs, compressing, writing, syncing) in a thread of
// their own, so that the supervisor keeps serving signals and exits meanwhile. Between start() and the result
// nothing else touches the Application's versions.
#pragma once

#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "engine/session.h"
#include "store/checkpoint_store.h"
#include "store/retention.h"

namespace ckpt::launcher {

// A function that runs in a thread of its own. Its end makes fd() readable.
class BackgroundWork {
 public:
  BackgroundWork();

  void start(std::function<void()> work);
  bool busy() const { return thread_.joinable(); }
  int fd() const { return done_.get(); }
  bool over() const;  // busy, and finish() would not wait
  // Waits for the end if need be, and throws what the work threw.
  void finish();

 private:
  UniqueFd done_;
  std::exception_ptr failure_;
  std::jthread thread_;  // last: joined before what it uses goes away
};

struct CheckpointOrder {
  std::unique_ptr<store::CheckpointWriter> writer;
  engine::CaptureOptions capture;
  store::VersionDescription description;  // without what the capture finds out
  store::Retention keep;
  std::function<void(store::Version)>
      durable;  // called in the other thread, before older versions are removed
};

struct CheckpointOutcome {
  store::VersionDescription description;  // durable
  std::string retention_error;            // old versions could not be removed
  engine::OutsideHoldings holdings;
};

class CheckpointJob {
 public:
  void start(store::Application& application, engine::Session& session, CheckpointOrder order);
  bool busy() const { return stage_ != Stage::kIdle; }
  int fd() const { return background_.fd(); }
  // Runs the steps that are due, in this thread or by starting them in the other. The outcome, once there is
  // one. Throws Error if the checkpoint failed; nothing is left of it then.
  std::optional<CheckpointOutcome> advance();
  // Somebody waits for it: no longer at low priority.
  void hurry();
  // Ends it early, in the middle of whatever it is doing.
  void abandon();

 private:
  enum class Stage { kIdle, kCapture, kCommit };
  bool step();
  void begin_commit();

  store::Application* application_ = nullptr;
  engine::Session* session_ = nullptr;
  CheckpointOrder order_;
  CheckpointOutcome outcome_;
  Stage stage_ = Stage::kIdle;
  std::unique_ptr<engine::Capture> capture_;
  bool may_keep_ = true;       // whether versions may need some of heaps (kept_versions.h)
  BackgroundWork background_;  // last: uses the rest
};

// Brings what the program wrote to its regular files to disk, before a version that relies on it is reported
// durable. File systems that cannot sync are none of our business; any other failure throws Error.
void sync_files(const std::vector<UniqueFd>& files);

}  // namespace ckpt::launcher
