// The pages of a heap on disk: an application of the checkpoint store. Reads come from the committed version,
// or from the one under way; writes go to the one under way, which a commit makes visible as a whole, or
// which vanishes.
//
// Hard rules:
//   1. What was put since the last commit must be read by read_put(), everything else by read(): the caller
//   keeps count
//      (kStored in line_table.h).
//   2. After a failed put or commit nothing can be put until restart() has taken over what was put before;
//   reading goes
//      on.
//   3. Only one put(), drop(), commit(), abandon(), restart() at a time matters to the order of versions;
//   calls are
//      serialised here. A read may run beside all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "heap/heap_format.h"
#include "heap/live_statistics.h"
#include "store/checkpoint_store.h"
#include "store/table_cache.h"
#include "vmheap/heap.h"

namespace ckpt::vmheap {

struct StoreLocation {
  std::string directory;      // of the store; made by create
  std::string name = "heap";  // of the application in it
};

enum class Sharing { kWriter, kReader };

// One writer across processes, as long as the result lives. Throws Error (EBUSY) if there is one.
UniqueFd lock_for_writing(const store::Application& application);

// Who wants a version: the program; or a checkpoint of its process (kept_heap.h), at an instant that nobody
// has chosen. Those are opened by number only, count for nothing, and go when nobody refers to them any more.
enum class CommitFor { kProgram, kCheckpoint };

class LineStore {
 public:
  // A new heap without a version: the first commit makes it exist. Throws Error (EEXIST) if there is one.
  static std::unique_ptr<LineStore> create(const StoreLocation& location, const HeapGeometry& geometry);
  // The newest version, or that one. One writer at a time (Error EBUSY); readers at any time.
  // The newest is refused if there is a damaged one after it (EBADMSG).
  static std::unique_ptr<LineStore> open(const StoreLocation& location, Sharing sharing,
                                         std::optional<store::Version> version = std::nullopt);
  static bool exists(const StoreLocation& location);
  // In place of what it was before, of which only memory is left: in a process that was recovered.
  void reopen(const StoreLocation& location, Sharing sharing, store::Version version);

  HeapGeometry geometry() const;  // that the next commit will have
  void set_geometry(const HeapGeometry& geometry);
  HeapGeometry geometry_of(store::Version version) const;
  store::Application& application() { return *application_; }
  // Of the lock that writers take; nullopt: nobody has written here yet.
  std::optional<FileIdentity> lock_identity() const;
  store::Version version() const;  // committed, that this builds on; 0: none
  std::vector<HeapVersion> versions() const;
  store::Version tagged(const std::string& label) const;  // throws Error (ENOENT) if there is no such version

  // Thread-safe. out.size() == run.page_count * 4096. Absent pages are zeroes; returns how many are present.
  std::uint64_t read(store::PageRun run, std::span<std::byte> out) const;
  std::uint64_t read_put(store::PageRun run, std::span<std::byte> out);

  void put(std::uint64_t first_page, std::span<const std::byte> bytes);
  void drop(store::PageRun run);
  // `application`: that a checkpoint belongs to, the directory of it.
  store::Version commit(CommitFor whom = CommitFor::kProgram, const std::string& application = {});
  bool is_for_checkpoint() const;          // version()
  store::Version program_version() const;  // the last one that the program committed
  bool failed() const;
  // After a failure: begins anew with these pages as they were put before.
  void restart(std::span<const store::PageRun> put_before);
  void abandon();
  // The next commit builds on `version`.
  void go_to(store::Version version);
  // Removes all but the newest `keep` versions of the program.
  void retain(std::size_t keep);

  std::uint64_t bytes_put() const { return bytes_put_; }

 private:
  LineStore(std::unique_ptr<store::Application> application, UniqueFd lock, const HeapGeometry& geometry);
  std::shared_ptr<const store::CheckpointReader> reader() const;
  store::CheckpointWriter& writer();
  // Runs it; what it throws is remembered (failed()).
  template <typename Work>
  void noting_failure(const Work& work);
  void open_version(store::Version version);
  HeapGeometry geometry_in(const store::CheckpointReader& reader) const;

  std::unique_ptr<store::Application> application_;
  UniqueFd lock_;
  std::shared_ptr<store::TableCache> tables_;

  std::mutex writing_;  // held over whatever uses the writer
  std::unique_ptr<store::CheckpointWriter> writer_;
  std::shared_ptr<const store::PutPages> put_pages_;
  std::uint64_t bytes_put_ = 0;

  mutable std::mutex mutex_;  // over the fields below, briefly
  HeapGeometry geometry_;
  std::shared_ptr<const store::CheckpointReader> reader_;
  store::Version version_ = 0;
  bool for_checkpoint_ = false;  // version_ is
  store::Version program_version_ = 0;
  bool failed_ = false;
};

}  // namespace ckpt::vmheap
