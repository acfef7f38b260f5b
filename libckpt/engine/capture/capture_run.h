// One checkpoint from its beginning to the last page in the store's hands.
//
//   track     stop for a moment: make the WriteTracker, if there is none yet, and register what is not
//   registered survey    (running) read mapping flags, count what was written; choose:
//               much is not registered   -> track
//               fits the pause           -> stop
//               pre-copy gets it smaller -> arm, barrier, precopy, survey again
//               else                     -> stop, with a snapshot
//   barrier   stop every thread for a moment, so that no direct I/O is in flight that began before pages were
//             armed (WriteTracker, rule 3)
//   precopy   (running) pages written before they were armed go to the store
//   stop      everything is read; written pages are copied into memory of ours, or a snapshot is taken
//   store     (running) the copied pages, or the snapshot's, go to the store; pages that are gone are dropped
//   reap      stop for a moment: remove what the snapshot left behind
//
// Whatever a failed checkpoint had armed stays owed (WriteTracker), so the next one is as complete as it
// would have been.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "engine/capture/capture.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/page_needs.h"
#include "engine/capture/page_tasks.h"
#include "engine/capture/snapshot.h"
#include "engine/capture/stage_clock.h"
#include "engine/session.h"
#include "engine/session_state.h"

namespace ckpt::engine {

class CaptureRun final : public Capture {
 public:
  CaptureRun(Session::State& session, store::CheckpointWriter& writer, CaptureOptions options);
  ~CaptureRun() override;

  Next next() const override;
  void run() override;
  CaptureResult take_result() override;

 private:
  using Clock = std::chrono::steady_clock;
  enum class Step { kTrack, kSurvey, kBarrier, kPrecopy, kStop, kStore, kReap, kDone };
  struct Pending {
    std::uint64_t bytes = 0;               // not in the store's hands yet
    std::uint64_t unregistered_bytes = 0;  // of those: could not be copied before the stop
    std::uint64_t forked_bytes = 0;        // content of the mappings that a snapshot would share
  };

  void learn_excluded(const std::vector<MapEntry>& maps);
  void track();
  void survey();
  PageTasks arm_written();
  Pending count_pending();
  Step choose(const Pending& pending);
  void precopy();
  void stop();
  void read_stopped(Tracee& tracee, const std::vector<MapEntry>& maps);
  void copy_or_snapshot(Tracee& tracee);
  void store();
  void describe_late_guards();
  void reap();
  void count_stop(Clock::duration duration);
  void with_program_stopped(const std::function<void(Tracee&)>& action);
  bool tracks() const { return options_.tracking == Tracking::kKernel && session_.tracker != nullptr; }

  Session::State& session_;
  store::CheckpointWriter& writer_;
  CaptureOptions options_;
  Step step_;
  MapFlagsTable flags_;
  PageTasks precopy_tasks_;
  PageNeeds needs_;
  AddressRanges known_content_;    // of tracked anonymous memory, as the last survey found it
  AddressRanges excluded_before_;  // not in the version that this one builds on
  int rounds_ = 0;
  int registrations_ = 0;
  int stale_surveys_ = 0;
  std::uint64_t last_pending_bytes_ = 0;
  std::uint64_t forked_bytes_ = 0;
  bool want_snapshot_ = false;
  std::unique_ptr<Snapshot> snapshot_;
  std::optional<StoppedState> state_;
  PageTasks snapshot_tasks_;
  AddressRanges late_guards_;  // found when pages were read
  std::uint64_t copied_bytes_ = 0;
  StageClock clock_;  // of the pause
  CaptureResult result_;
};

}  // namespace ckpt::engine
