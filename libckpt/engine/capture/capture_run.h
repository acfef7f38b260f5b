// One checkpoint from its beginning to the last page in the store's hands.
//
//   track     stop for a moment: make a WriteTracker where there is none yet, and register what is not
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
// Each step is taken for all processes (ProcessCapture has what is of one), and every stop is one of all of
// them. Which of them need a snapshot, each decides for itself: of a tree most have little to copy.
//
// Whatever a failed checkpoint had armed stays owed (WriteTracker), so the next one is as complete as it
// would have been.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "engine/capture/capture.h"
#include "engine/capture/process_capture.h"
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

  void meet_processes();
  ProcessCapture& part_of(const std::shared_ptr<ProcessState>& process);
  void track();
  void survey();
  Step choose(const PendingPages& pending);
  void precopy();
  void stop();
  void finish_stop(StoppedFamily family, std::vector<resource::SilencedConnection> silenced,
                   Clock::time_point started);
  void survey_again(StoppedFamily& family);
  bool is_stale(const StoppedFamily& family);
  void read_stopped(StoppedFamily& family, std::vector<resource::SilencedConnection>* silenced);
  void take_pages(StoppedFamily& family);
  void store();
  void reap();
  void take_step();
  bool comes_of_change(const Error& error) const;
  void count_stop(Clock::duration duration);
  template <typename Action>
  void with_all_stopped(const Action& action);
  template <typename Action>
  void for_each_running(const Action& action);
  bool tracks() const { return parts_.front()->tracks(); }
  bool has_snapshot() const;
  bool wants_snapshot(const ProcessCapture& part) const;

  Session::State& session_;
  store::CheckpointWriter& writer_;
  CaptureOptions options_;
  std::vector<std::unique_ptr<ProcessCapture>> parts_;  // the program first
  std::vector<ProcessCapture*> stopped_parts_;          // in the order of StoppedState
  Step step_;
  int rounds_ = 0;
  int registrations_ = 0;
  int stale_surveys_ = 0;
  bool look_for_relatives_ = false;
  std::uint64_t last_pending_bytes_ = 0;
  enum class Snapshots { kNone, kWherePaid, kAll } snapshots_ = Snapshots::kNone;
  // Of the processes that have a snapshot.
  std::uint64_t forked_bytes_ = 0;
  Clock::duration forking_{};
  std::optional<StoppedState> state_;
  std::uint64_t copied_bytes_ = 0;
  StageClock clock_;  // of the pause
  CaptureResult result_;
};

}  // namespace ckpt::engine
