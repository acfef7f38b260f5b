// Brings memory that is not there yet: where the program waits for it, at once; everything else in the
// background.
//
// One thread owns everything that changes: it alone reads what userfaultfds say, knows what is missing, and
// installs pages. So a page that was read from the store is installed only if it is still missing where the
// program has it now. Other threads only read from the store (BackgroundReads).
//
// Where memory is kept within a limit (`stays`), it serves until the end: nothing comes in the background,
// and what the version it serves from has can become missing again (evict).
//
// Hard rules:
//  1. Events are applied as soon as they are read, before any page is installed: the program goes on behind
//  an madvise, munmap, mremap or fork when its event has been read.
//  2. The thread makes no remote calls, no ptrace calls, and takes no lock that is held by one who does: the
//  program, and the thread that traces it, wait for it.
//  3. Every page is verified by the store before it is installed. One that cannot be read ends the program;
//  only then are its userfaultfds closed.
//  4. A mapping reads as zeroes once its userfaultfd is closed: that is done when nothing is missing, or when
//  the program is dead.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "engine/restore/background_reads.h"
#include "engine/restore/missing_pages.h"
#include "engine/restore/page_room.h"
#include "engine/restore/program_family.h"
#include "engine/restore/touched_pages.h"
#include "engine/restore/user_faults.h"
#include "engine/session.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Of one process.
struct LazyMemory {
  pid_t pid = 0;
  store::SpaceId space = 0;
  UserFaults faults;  // started, watching whatever is missing
  MissingPages missing;
  std::vector<store::PageRun> order;  // runs of the space, in the order of reading
};

struct PageServerWork {
  std::shared_ptr<const store::CheckpointReader> reader;
  std::vector<LazyMemory> memories;  // not empty
  // Of the application, for what the program itself touched; -1: not recorded.
  int directory = -1;
  const std::vector<WatchedProcess>& processes;  // that end if one cannot have its memory; outlive the server
  bool stays = false;  // then `memories` may be empty and there may be no reader yet
};

struct MissingState {
  std::vector<MissingPiece> pieces;
  std::vector<store::PageRun> moved_to;
};

class PageServer {
 public:
  explicit PageServer(PageServerWork work);
  ~PageServer();  // stops serving: nothing is missing any more, or the program is dead
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

  // By any thread.
  bool done() const { return done_; }
  int done_fd() const { return done_fd_.get(); }  // readable once done()
  // All that is missing comes now, at full speed, and then the server is done.
  void hurry();

  // Of a server that stays. By one thread at a time, while the program stands still (but replace_version());
  // each returns when it is done. They throw Error if the server has failed.
  //
  // Serves the memory of the program, from now on, through what watches its writes, too. Nothing is missing.
  void watch_program(pid_t pid, UserFaults faults);
  // Its address space is gone.
  void forget_program();
  // Children have all of their memory from now on. What is missing of the program, and stays so in the
  // version that is being made; and where it has moved memory to since the last call (page numbers).
  MissingState settle();
  // What is missing there comes now. In the stop of the last settle().
  void bring(const std::vector<store::PageRun>& runs);
  // What is missing there has no content any more. In the stop of the last settle().
  void forget(const std::vector<store::PageRun>& runs);
  // Until end_eviction() the program's memory is discarded on our behalf. Returns where it has moved memory
  // to since the last settle().
  std::vector<store::PageRun> begin_eviction();
  // These pieces, in any order, and any others that are missing: all of them count as missing from now on.
  // What comes back meanwhile, to whoever reads it, stays missing, though it may be there; nobody may write
  // to it.
  void evict(const std::vector<MissingPiece>& pieces);
  void end_eviction(const std::vector<store::PageRun>& still_there);  // these were not discarded after all
  // What was missing at the last settle() is now at the same place in this version.
  void replace_version(std::shared_ptr<const store::CheckpointReader> reader);
  // After done().
  const FillReport& report() const { return report_; }

 private:
  using Clock = std::chrono::steady_clock;

  // An address space: that of one of the processes, or of a child that it has forked meanwhile.
  struct Space {
    pid_t pid = 0;  // 0: a child
    store::SpaceId id = 0;
    const std::vector<store::PageRun>* order = nullptr;
    UserFaults faults;
    MissingPages missing;
    std::size_t next_run = 0;  // to be read in the background
    std::uint64_t run_done = 0;
    std::uint64_t fault_end = 0, window = 0;  // of the last fault that pages were brought for
    std::uint64_t zero_end = 0, zero_window = 0;
    unsigned long_windows = 0;  // one after the other: it goes through its memory in order
    bool over = false;
    MissingPages settled = {};  // as it was at the last settle()
  };
  struct Fault {
    std::size_t space;
    UserFault fault;
  };

  struct RequestedRun {
    std::size_t space;
    store::PageRun run;
  };

  void call(std::function<void()> work);
  void answer_calls();
  void read_all_messages();
  void complete(Space& space);
  void bring(Space& space, const MissingPiece& piece);
  static void close(Space& space);
  void forget_ended_children();
  bool goes_on();

  void run() noexcept;
  void serve();
  bool anything_missing();
  bool read_messages();
  void apply(std::size_t space, UserFaultEvent& event);
  void forget_wiped(pid_t parent, MissingPages& missing) const;
  bool serve_fault();
  bool serve_stored(std::size_t number, std::uint64_t page, const MissingPiece& piece);
  bool serve_while_evicting(Space& program, std::uint64_t page, const MissingPiece& piece);
  bool serve_zeroes(Space& space, const UserFault& fault);
  void follow(Space& space, std::uint64_t source);
  bool comes_soon(std::size_t number, std::uint64_t source) const;
  bool install(Space& space, std::uint64_t page, std::span<const std::byte> bytes, bool unwritten = false);
  void skip(Space& space, std::uint64_t page);
  bool install_slice();
  void end_current();
  void request_reads();
  void read_faster();
  std::optional<BackgroundRead> next_touched_read();
  std::optional<BackgroundRead> next_read(std::size_t number);
  void wait();
  void finish_recording();
  void end_program();
  void wake_server() const;

  PageServerWork work_;
  std::deque<Space> spaces_;  // those of work_.memories first
  std::deque<Fault> waiting_;
  std::vector<Fault> held_;                // for pages that are being read anyway
  std::optional<BackgroundReads> reads_;   // none if it stays
  std::vector<RequestedRun> requested_;    // of reads_, until it is installed
  std::optional<BackgroundRead> current_;  // being installed
  std::size_t current_run_ = 0;
  std::uint64_t current_done_ = 0, current_offset_ = 0;
  TouchedParts touched_;
  std::size_t next_touched_ = 0, prefetch_count_ = 0;
  bool recording_ = false, following_ = false, reads_fast_ = false;
  PageRoom buffer_;
  std::vector<std::byte> zeroes_;
  Clock::time_point started_ = Clock::now();
  Clock::time_point last_fault_{};
  FillReport report_;
  std::vector<store::PageRun> moved_to_;
  bool evicting_ = false;
  Clock::time_point looked_at_children_ = Clock::now();
  std::mutex mutex_;
  std::deque<std::packaged_task<void()>> calls_;  // under mutex_
  bool deaf_ = false;                             // under mutex_: no more calls
  std::atomic<bool> done_ = false, stop_ = false, hurry_ = false;
  UniqueFd done_fd_, control_fd_;
  std::jthread thread_;  // last
};

}  // namespace ckpt::engine
