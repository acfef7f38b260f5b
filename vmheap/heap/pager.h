// Pages a heap within a strict limit: serves its faults, evicts, stores early, commits, rolls back.
//
// Threads: `handlers` that answer userfaultfd messages, one cleaner that keeps frames free and stores dirty
// lines early, readers-ahead, one committer. The states of lines and who changes them: line_table.h.
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
//   9. Lines get another size only while none is busy and none of theirs has a frame, a pin or an entry in a
//   list: whoever
//      gives the lock up looks at the length of its line again, unless it holds a busy one.
//  10. For a checkpoint of the process (noting_): what becomes dirty stays, and is no more than notes_ has
//   room for; all threads are parked when it is written down.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "heap/heap_memory.h"
#include "heap/line_store.h"
#include "heap/line_table.h"
#include "heap/live_statistics.h"
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
  // Everything since `version` is gone, and the heap has these regions. No other thread may use the heap
  // meanwhile.
  void roll_back(store::Version version, const Regions& regions);

  void discard(ByteRange range);  // whole lines within it become zeroes
  void pin(ByteRange range, Access access);
  void unpin(ByteRange range);
  void will_need(ByteRange range);  // brings it in, as far as frames are free
  // Memory that was never used is going to be written by the caller, all of it: brought in at once instead of
  // fault by fault, where frames are plenty.
  void prepare(ByteRange range);
  void cold(ByteRange range);  // next to be evicted
  void set_pattern(ByteRange range, AccessPattern pattern);
  void set_kind(ByteRange range, RangeKind kind);
  void set_resident_limit(std::uint64_t bytes);
  // The heap gets longer: its regions are these, of which the old part stays as it is.
  void grow(const Regions& regions);
  // From now on `changed` has the lines that it has in `regions`, the others stay as they are. Whoever needs
  // a line waits meanwhile. Throws Error, and leaves everything as it is, if something is pinned, in a
  // special range, or cannot be stored.
  void set_regions(const Regions& regions, ByteRange changed);
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
  // Throws Error if it is too little for such lines.
  static std::uint64_t limit_in_pages(std::uint64_t bytes, const LineMap& map);

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Lines {  // one after the other
    Line first = 0;
    std::uint64_t pages = 0;

    Line end() const { return first + pages; }
    bool contains(Line line) const { return line - first < pages; }
  };

  // Geometry.
  ByteRange view_of(Lines lines) const {
    return memory_.view(lines.first * store::kPageBytes, lines.pages * store::kPageBytes);
  }
  std::span<std::byte> alias_of(Lines lines) const {
    return memory_.alias(lines.first * store::kPageBytes, lines.pages * store::kPageBytes);
  }
  void unmap(Lines lines) const {
    memory_.unmap_view(lines.first * store::kPageBytes, lines.pages * store::kPageBytes);
  }
  void free_memory(Lines lines) const {
    memory_.free_frames(lines.first * store::kPageBytes, lines.pages * store::kPageBytes);
  }
  static store::PageRun pages_of(Lines lines) {
    return {.first_page = lines.first, .page_count = lines.pages};
  }
  Lines one(Line line) const { return {.first = line, .pages = line_map_.length(line)}; }
  std::uint64_t page_of(std::uint64_t address) const {
    return (address - memory_.base()) / store::kPageBytes;
  }
  Lines lines_touching(ByteRange range) const;
  Lines lines_within(ByteRange range) const;
  template <typename Visit>
  void for_each_line(Lines lines, const Visit& visit) const {
    for (Line line = lines.first; line < lines.end(); line = line_map_.next(line)) visit(line);
  }
  std::uint64_t count(Lines lines) const;
  std::uint64_t pages_in(const std::vector<Line>& lines) const;
  std::vector<Lines> merge(const std::vector<Line>& ascending) const;
  static std::vector<Lines> without(const std::vector<Lines>& runs, Lines gone);

  // Faults (pager.cpp).
  enum class Outcome { kDone, kAgain, kFailed };
  void handle_faults();
  void serve(const Fault& fault);
  Outcome bring(Lock& lock, Line line, Access access, bool is_mapped);
  Outcome touch(Lock& lock, Line line, Access access, bool is_mapped);
  void store_waiting(Lock& lock, Line line);
  void map(Lines lines, Access access);
  Outcome fill(Lock& lock, Line line, Access access);
  Lines choose_fill(Line line, std::uint64_t most) const;  // pages
  std::uint64_t window(Line line);
  struct Wanted {
    Lines lines;  // no pages: as many as are to be read ahead
    Access access = Access::kRead;
    bool now = true;      // the first line is wanted by a thread; else all are read ahead
    bool goes_on = true;  // what follows may be wanted next
    // So many may be there already, or on their way: what comes after them is meant.
    unsigned windows_before = 0;
  };
  void skip_windows(Wanted& wanted) const;
  void load(Lock& lock, const Wanted& wanted);
  void install(const Wanted& wanted, LineState before, bool found);
  bool is_quick(const Fault& fault) const;
  // Nobody may have it now; whoever ends that wakes those in wanted_.
  bool is_busy(Line line) const { return reshaping_ || table_.state(line) == LineState::kBusy; }
  void begin_busy(Line line);
  void end_busy(Line line, LineState state);
  void unavailable(Line line, const std::string& cause);
  void try_unavailable(Lock& lock);
  void read_ahead();

  // Reclaim (pager_reclaim.cpp).
  bool reserve_frames(Lock& lock, std::uint64_t pages);
  bool store_again(Lock& lock);
  std::uint64_t free_frames() const { return limit_ > frames_used_ ? limit_ - frames_used_ : 0; }
  std::uint64_t frames_to_keep_free() const;
  bool reclaim(Lock& lock, std::uint64_t wanted);  // pages
  bool make_cold(std::uint64_t pages);
  bool make_unread_cold(std::uint64_t pages);
  struct Candidates {
    std::vector<Line> clean;
    std::vector<Line> dirty;
    std::uint64_t clean_pages = 0;
    std::uint64_t dirty_pages = 0;
    bool used = false;  // some were, since they became cold
  };
  Candidates pick_candidates(std::uint64_t wanted);
  void evict(Lock& lock, std::vector<Line> lines);
  std::vector<Line> flush_unused(Lock& lock, std::vector<Line> lines);
  bool flush(Lock& lock, std::vector<Line>& lines);
  bool may_store_early() const { return !committing_ && !noting_ && !read_only_ && !store_failed_; }
  bool put_lines(Lock& lock, const std::vector<Line>& ascending);
  void clean();
  void record_failure(const std::string& cause) { failure_ = cause; }
  Statistics numbers_now() const;  // without failure
  void publish();

  // Commit (pager_commit.cpp).
  void freeze(Lock& lock);
  void freeze_dirty();
  void freeze_discarded();
  void store_frozen(Lock& lock);
  void note_stored(Line line);
  void restart_store(Lock& lock);
  void drop_discarded(Lock& lock);
  void committed(CommitFor whom);
  void commit_failed(const std::string& cause);
  void reset(const LineMap& map);

  // Checkpoints of the process (pager_checkpoint.cpp).
  void park(Lock& lock);
  bool has_room_for_note(Line line, Access access) const;
  void forget_all();
  void pin_again(Lock& lock);

  // Ranges (pager_ranges.cpp).
  void discard_lines(Lock& lock, Lines lines);
  bool bring_to_stay(Lock& lock, Line line, Access access);
  static bool is_in(const std::vector<Lines>& ranges, Line line);
  void make_cold(Lines lines);
  void leave_behind(Line line);

  // Regions (pager_regions.cpp).
  void require_same_where_held(const LineMap& map) const;
  void clear_out(Lock& lock, Lines changed);
  void drop_empty(Lock& lock, Lines changed);
  void take_over(LineMap map, Lines changed);
  void go_on_after_change();

  HeapMemory& memory_;
  LineStore& store_;
  const bool read_only_;
  Userfault userfault_;

  std::mutex reading_faults_;  // held by the one handler that waits for messages; before mutex_
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // frames, busy lines, commits
  std::condition_variable work_;     // for the cleaner
  std::condition_variable ahead_;    // for the readers-ahead
  LineMap line_map_;
  LineTable table_;
  ResidentLines resident_;
  SequentialFaults sequential_;
  std::uint64_t limit_;            // pages
  std::uint64_t frames_used_ = 0;  // pages
  std::uint64_t busy_count_ = 0;   // lines
  std::uint64_t dirty_pages_ = 0;
  bool reshaping_ = false;                // set_regions() is under way
  std::unordered_set<Line> wanted_;       // busy lines that somebody waits for
  std::unordered_set<Line> unavailable_;  // accesses raise SIGBUS
  struct Mark {
    std::uint64_t distance = 0;     // pages
    Access access = Access::kRead;  // of the stream
  };
  std::unordered_map<Line, Mark> marks_;  // a fault here asks for what follows, so far on
  std::deque<Wanted> to_read_ahead_;
  std::vector<Line> waiting_;  // frozen, ascending
  std::vector<Line> stored_;   // flagged kStored
  std::uint64_t stored_pages_ = 0;
  std::vector<Lines> discarded_;  // since the last commit
  std::vector<Lines> dropped_;    // by the commit under way
  struct PinnedCopy {
    Line line = 0;
    std::vector<std::byte> bytes;
  };
  std::vector<PinnedCopy> pinned_copies_;  // frozen content of lines that must stay writable
  std::vector<Lines> special_;             // system and nursery ranges
  std::vector<Lines> in_order_;            // AccessPattern::kSequential
  std::vector<Lines> at_random_;           // AccessPattern::kRandom
  struct Pinned {
    unsigned count = 0;
    Access access = Access::kRead;
  };
  std::map<Line, Pinned> pins_;
  std::uint64_t flushing_count_ = 0;   // lines that are stored early
  std::uint64_t storing_waiting_ = 0;  // lines that a commit has frozen, stored by who wants to write to them
  struct Notes {
    std::vector<Line> lines;
    std::uint64_t count = 0;     // of `lines`
    std::byte* bytes = nullptr;  // one line after the other
    std::uint64_t room = 0;      // pages
    std::uint64_t more_room = 0;
  };
  Notes notes_;
  bool noting_ = false;
  std::vector<Line> deferred_;                // faults that wait until there is room for notes again
  bool held_ = false;                         // threads are to park
  std::uint64_t stored_for_checkpoints_ = 0;  // pages, since the program committed
  unsigned parked_ = 0;
  bool committing_ = false;
  bool cleaning_pays_ = true;  // false: the last attempt found nothing
  bool stopping_ = false;
  bool store_failed_ = false;  // nothing can be stored early until a commit or rollback succeeds
  std::string failure_;        // why something could not be read or stored; none: all well
  Statistics counts_;
  std::optional<FileIdentity> lock_identity_;  // none: nobody can look
  LiveStatistics live_;

  std::vector<std::thread> threads_;
};

}  // namespace ckpt::vmheap
