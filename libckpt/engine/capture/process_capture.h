// One process's part of a checkpoint: which of its pages a version lacks, and how they come to the store. The
// steps are CaptureRun's.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/agent_tables.h"
#include "engine/capture/capture.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/page_needs.h"
#include "engine/capture/page_tasks.h"
#include "engine/capture/snapshot.h"
#include "engine/paging/paging.h"
#include "engine/session.h"
#include "engine/session_state.h"

namespace ckpt::engine {

// Pages that are not in the store's hands yet.
struct PendingPages {
  std::uint64_t bytes = 0;
  std::uint64_t unregistered_bytes = 0;  // of those: could not be copied before the stop
  std::uint64_t forked_bytes = 0;        // content of the mappings that a snapshot would share

  void add(const PendingPages& more);
};

// What the processes of the program may have with each other.
PagesInCommon pages_in_common(const Session::State& session);

class ProcessCapture {
 public:
  ProcessCapture(std::shared_ptr<ProcessState> process, const CaptureOptions& options);

  const ProcessState& process() const { return *process_; }
  bool tracks() const { return tracking_ == Tracking::kKernel && process_->tracker != nullptr; }
  bool lacks_tracker() const { return wants_tracker_ && process_->can_track && process_->tracker == nullptr; }

  // In a stop: makes the WriteTracker if there is none yet, and registers what is not registered.
  // `paging`: where the memory of this process is kept within a limit; else none.
  void track(Tracee& tracee, Paging* paging);
  // While the process runs: reads mapping flags and counts what was written.
  PendingPages survey();
  const PendingPages& pending() const { return pending_; }  // as it was counted last
  // While it runs: what was written is unwritten from now on, and owed.
  void arm_written();
  // While it runs, after a barrier: what was armed goes to the store.
  void precopy(store::CheckpointWriter& writer, PagesInCommon in_common);

  // In the stop. True if mappings came or went since their flags were read.
  bool look_at_maps();
  // Pages that are missing in the process: the version keeps them, or `store` copies them.
  void know_missing(Paging& paging);
  ProcessContext context(Tracee& tracee);
  // Copies pages into `buffer`, or takes a snapshot of the process that has them. What is copied already, in
  // bytes. Guard regions that it finds go into the image.
  std::uint64_t take_pages(Tracee& tracee, CapturedMemory memory, bool snapshot, Session::State& session,
                           store::CheckpointWriter& writer, image::ProcessT& process);
  // What the process shares with us goes into the image.
  void describe_agent(image::ProcessT& process) const;

  // While it runs again: the rest goes to the store.
  void store(store::CheckpointWriter& writer, image::ProcessT& process);
  bool has_snapshot() const { return snapshot_ != nullptr; }
  void end_snapshot();
  void reap_snapshot(Tracee& tracee);
  void forget_snapshot() { snapshot_.reset(); }
  const CapturedMemory& memory() const { return memory_; }

 private:
  void learn_excluded();
  void bring_excluded();
  void forget_guards(const image::ProcessT& process);
  void store_missing(store::CheckpointWriter& writer);
  void copy_missing(const MissingPiece& piece, store::CheckpointWriter& writer) const;
  template <typename Action>
  void for_each_private_mapping(const Action& action);
  void describe_late_guards(AddressRanges guards, image::ProcessT& process);

  std::shared_ptr<ProcessState> process_;
  Tracking tracking_;
  bool wants_tracker_;
  std::vector<MapEntry> maps_;  // as last read
  AgentTables agent_;           // in these
  MapFlagsTable flags_;
  bool flags_are_stale_ = false;
  PageTasks precopy_tasks_;
  PageNeeds needs_;
  AddressRanges known_content_;  // of tracked anonymous memory, as the last survey found it
  PendingPages pending_;
  AddressRanges excluded_before_;  // not in the version that this one builds on
  std::unique_ptr<Snapshot> snapshot_;
  CapturedMemory memory_;
  PageTasks snapshot_tasks_;
  Paging* paging_ = nullptr;
  MissingPages missing_;  // all of it in the version that is served from
  store::Version parent_;
};

}  // namespace ckpt::engine
