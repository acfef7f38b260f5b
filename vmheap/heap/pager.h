// Pages a heap within a strict limit: serves its faults, evicts, stores early, commits, rolls back.
//
// Threads: `handlers` that answer userfaultfd messages, one cleaner that keeps frames free and stores dirty
// lines early, one reader-ahead, one committer. The states of lines and who changes them: line_table.h.
//
// Hard rules:
//   1. All states, lists and counts are under mutex_. Whatever waits for the disk is done without it, on
//   lines that are
//      kBusy; nobody else touches a busy line.
//   2. No code here reads or writes the view: it would wait for itself. The alias is used.
//   3. A line is mapped (map, unprotect) only under mutex_ and only as its state allows, so that a clean line
//   is never
//      writable.
//   4. Who finds a line busy gives the message up after noting it in wanted_; whoever ends busy wakes it.
//   5. frames_used_ counts a frame from before it is made until after it was given back, and never exceeds
//   the limit.
//   6. What was stored since the last commit is flagged kStored until a commit or rollback; only read_put
//   finds it.
//   7. Every line with a frame is in the lists whenever mutex_ is free, or busy: commit and rollback find
//   them there.
//   8. Nothing is stored early while a commit is under way: it would become part of it.
//   9. For a checkpoint of the process (noting_): what becomes dirty stays, and is no more than notes_ has
//   room for; all threads are parked when it is written down.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "heap/heap_memory.h"
#include "heap/line_store.h"
#include "heap/line_table.h"
#include "heap/resident_lines.h"
#include "heap/sequential.h"
#include "heap/userfault.h"
#include "vmheap/heap.h"

namespace ckpt::vmheap {

class Pager {
 public:
  Pager(HeapMemory& memory, LineStore& store, const OpenOptions& options);
  ~Pager();
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  bool serves_kernel() const { return userfault_.serves_kernel(); }

  // Commit in two steps: freeze() takes the instant, finish_commit() makes it durable, by any thread.
  // One commit at a time: freeze() waits for the one before.
  void freeze();
  // `application`: that the checkpoint belongs to.
  store::Version finish_commit(CommitFor whom = CommitFor::kProgram, const std::string& application = {});
  // Everything since `version` is gone. No other thread may use the heap meanwhile.
  void roll_back(store::Version version);

  void discard(ByteRange range);  // whole lines within it become zeroes
  void pin(ByteRange range, Access access);
  void unpin(ByteRange range);
  void will_need(ByteRange range);  // brings it in, as far as frames are free
  // Memory that was never used is going to be written by the caller, all of it: brought in at once instead of
  // fault by fault, where frames are plenty.
  void prepare(ByteRange range);
  void cold(ByteRange range);  // next to be evicted
  void set_kind(ByteRange range, RangeKind kind);
  void set_resident_limit(std::uint64_t bytes);
  void watch(ByteRange range) { userfault_.watch(range); }
  const Userfault& userfault() const { return userfault_; }

  // Checkpoints of the process (pager_checkpoint.cpp; the order of calls: ckpt/keeper.h). No other thread is
  // in any function of the pager from begin_notes() to end_notes() or come_back(). Like freeze(), but false
  // if there is nothing to commit. What changes from then on can be written down.
  bool begin_notes();
  // All threads but those of the pager stand still: writes down what the commit after begin_notes() has not.
  // False if the pager does not come to rest. No malloc.
  bool write_notes();
  void end_notes();
  // In a process that was recovered: faults wait. No malloc.
  void stand_in();
  // Then: everything is as it was, on the basis of the store's version.
  void come_back();

  Statistics statistics() const;

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Lines {
    Line first = 0;
    std::uint64_t count = 0;
  };

  // Geometry.
  ByteRange view_of(Lines lines) const {
    return memory_.view(lines.first * line_bytes_, lines.count * line_bytes_);
  }
  std::span<std::byte> alias_of(Lines lines) const {
    return memory_.alias(lines.first * line_bytes_, lines.count * line_bytes_);
  }
  store::PageRun pages_of(Lines lines) const;
  Lines lines_touching(ByteRange range) const;
  Lines lines_within(ByteRange range) const;
  std::uint64_t line_count() const { return memory_.size() / line_bytes_; }
  static std::vector<Lines> merge(const std::vector<Line>& ascending);

  // Faults (pager.cpp).
  enum class Outcome { kDone, kAgain, kFailed };
  void handle_faults();
  void serve(const Fault& fault);
  Outcome bring(Lock& lock, Line line, Access access, bool is_mapped);
  Outcome touch(Lock& lock, Line line, Access access, bool is_mapped);
  void store_waiting(Lock& lock, Line line);
  void map(Lines lines, Access access);
  Outcome fill(Lock& lock, Line line, Access access);
  Lines choose_fill(Line line, std::uint64_t most) const;
  struct Wanted {
    Lines lines;
    Access access = Access::kRead;
    bool now = true;      // the first line is wanted by a thread; else all are read ahead
    bool goes_on = true;  // what follows may be wanted next
  };
  void load(Lock& lock, const Wanted& wanted);
  void install(const Wanted& wanted, LineState before, bool found);
  bool is_quick(const Fault& fault) const;
  void begin_busy(Line line);
  void end_busy(Line line, LineState state);
  void unavailable(Line line, const std::string& cause);
  void read_ahead();

  // Reclaim (pager_reclaim.cpp).
  bool reserve_frames(Lock& lock, std::uint64_t count);
  bool store_again(Lock& lock);
  std::uint64_t free_frames() const { return limit_ > frames_used_ ? limit_ - frames_used_ : 0; }
  std::uint64_t frames_to_keep_free() const;
  bool reclaim(Lock& lock, std::uint64_t wanted);
  std::uint64_t make_cold(std::uint64_t count);
  struct Candidates {
    std::vector<Line> clean;
    std::vector<Line> dirty;
    std::uint64_t used = 0;  // since they became cold
  };
  Candidates pick_candidates(std::uint64_t wanted);
  void evict(Lock& lock, std::vector<Line> lines);
  std::vector<Line> flush_unused(Lock& lock, std::vector<Line> lines);
  bool flush(Lock& lock, std::vector<Line>& lines);
  bool may_store_early() const { return !committing_ && !noting_ && !read_only_ && !store_failed_; }
  bool put_lines(Lock& lock, const std::vector<Line>& ascending);
  void clean();
  void record_failure(const std::string& cause) { failure_ = cause; }

  // Commit (pager_commit.cpp).
  void freeze(Lock& lock);
  void freeze_dirty();
  void freeze_discarded();
  void store_frozen(Lock& lock);
  void restart_store(Lock& lock);
  void drop_discarded(Lock& lock);
  void committed(CommitFor whom);
  void commit_failed(const std::string& cause);
  void reset();

  // Checkpoints of the process (pager_checkpoint.cpp).
  void park(Lock& lock);
  bool has_room_for_note(Line line, Access access) const;
  void forget_all();

  // Ranges (pager_ranges.cpp).
  void discard_lines(Lock& lock, Lines lines);
  void remove_special(Lines lines);

  HeapMemory& memory_;
  LineStore& store_;
  const std::uint64_t line_bytes_;
  const bool read_only_;
  Userfault userfault_;

  std::mutex reading_faults_;  // held by the one handler that waits for messages; before mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // frames, busy lines, commits
  std::condition_variable work_;     // for the cleaner
  std::condition_variable ahead_;    // for the reader-ahead
  LineTable table_;
  ResidentLines resident_;
  SequentialFaults sequential_;
  std::uint64_t limit_;  // frames
  std::uint64_t frames_used_ = 0;
  std::uint64_t busy_count_ = 0;
  std::uint64_t dirty_count_ = 0;
  std::unordered_set<Line> wanted_;  // busy lines that somebody waits for
  struct Mark {
    std::uint64_t distance = 0;
    Access access = Access::kRead;  // of the stream
  };
  std::unordered_map<Line, Mark> marks_;  // a fault here asks for what follows, this many lines on
  std::deque<Wanted> to_read_ahead_;
  std::vector<Line> waiting_;     // frozen, ascending
  std::vector<Line> stored_;      // flagged kStored
  std::vector<Lines> discarded_;  // since the last commit
  std::vector<Lines> dropped_;    // by the commit under way
  struct PinnedCopy {
    Line line = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<PinnedCopy> pinned_copies_;  // frozen content of lines that must stay writable
  std::vector<Lines> special_;             // system and nursery ranges
  std::map<Line, unsigned> pins_;
  std::uint64_t flushing_count_ = 0;  // lines that are stored early
  struct Notes {
    std::vector<Line> lines;
    std::uint64_t count = 0;
    std::byte* bytes = nullptr;  // of as many lines as `lines` has room for
  };
  Notes notes_;
  bool noting_ = false;
  std::vector<Line> deferred_;                // faults that wait until there is room for notes again
  bool held_ = false;                         // threads are to park
  std::uint64_t stored_for_checkpoints_ = 0;  // lines, since the program committed
  unsigned parked_ = 0;
  bool committing_ = false;
  bool cleaning_pays_ = true;  // false: the last attempt found nothing
  bool stopping_ = false;
  bool store_failed_ = false;  // nothing can be stored early until a commit or rollback succeeds
  std::string failure_;        // why something could not be read or stored; none: all well
  Statistics counts_;

  std::vector<std::thread> threads_;
};

}  // namespace ckpt::vmheap
