// A store holds applications; an application holds versions; a version is one segment file that was written
// once and never changes: page data, page-tree nodes, manifest. Unchanged pages are references into older
// segments.
//
// Layout on disk, all directories 0700 and files 0600:
//   STORE/NAME/v0000000007.ckpt   segment of version 7 (format: segment_format.h)
//   STORE/NAME/…                  files of the launcher (run state, control socket), which the store ignores
//
// Errors: every function throws ckpt::Error with one line naming the file, the cause, and what to do.
// Nothing that was visible is ever rewritten in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::store {

inline constexpr std::size_t kPageBytes = 4096;

// Independent key ranges inside one version: the private memory of each process, each shared object.
using SpaceId = std::uint32_t;
using Version = std::uint64_t;  // counts from 1 within an application; never reused

struct PageRun {
  std::uint64_t first_page = 0;  // page number: address (or offset in the object) / 4096
  std::uint64_t page_count = 0;
};

// Pages that are stored one after the other: where a reader finds them on disk.
struct StoredRun {
  PageRun run;
  Version segment = 0;     // the version whose segment holds them
  std::uint64_t unit = 0;  // place of the first one in it, in pages
};

// A part of the pause.
struct Stage {
  std::string name;
  std::uint64_t microseconds = 0;

  bool operator==(const Stage&) const = default;
};

// Written by the launcher with each version, shown by list/show/stats; part of the manifest.
struct CheckpointStats {
  std::string mode;  // "copy", "precopy", "fork"
  std::uint64_t freezing_time_us = 0;
  std::uint64_t frozen_time_us = 0;
  std::uint64_t memdump_time_us = 0;
  std::uint64_t memwrite_time_us = 0;
  std::uint64_t pages_scanned = 0;
  std::uint64_t pages_skipped_parent = 0;  // filled by the store
  std::uint64_t pages_written = 0;         // filled by the store
  std::uint64_t bytes_written = 0;         // filled by the store: the whole segment
  std::uint64_t resident_bytes = 0;
  std::vector<Stage> stages;  // of the pause, in their order
};

// Memory of the program that a library in it keeps in files of its own (ckpt/keeper.h): the version of that
// which goes with this one.
struct KeptVersion {
  std::string directory;
  std::string name;
  Version version = 0;

  // As for RemoteAddr.
  auto operator<=>(const KeptVersion&) const = default;  // NOLINT(modernize-use-nullptr)
};

struct VersionDescription {
  Version version = 0;  // filled by the store
  Version parent = 0;   // 0: none; filled by the store
  std::int64_t created_realtime_ns = 0;
  std::string run_id;  // identifies one run of ckptrun; retention keeps the last version of each run
  std::vector<std::string> command;
  std::string working_directory;
  std::int32_t pid = 0;
  std::uint32_t process_count = 1;
  std::uint32_t thread_count = 0;
  std::vector<std::string> notes;  // warnings met while capturing
  std::vector<KeptVersion> kept = {};
  CheckpointStats stats;
};

// One version, opened and checked (owner, permissions, framing, manifest digest). Keeps every segment that it
// needs open, so it stays readable after the version is removed. read() may be called by several threads.
class CheckpointReader {
 public:
  virtual ~CheckpointReader() = default;
  virtual const VersionDescription& description() const = 0;
  // The process image (engine/image/image.fbs), read and checked at the first call. Thread-safe.
  virtual std::span<const std::byte> image() const = 0;
  // Runs of pages present in `space`, ascending, merged where adjacent.
  virtual std::vector<PageRun> runs(SpaceId space) const = 0;
  // The same pages by place: ascending by page, merged where adjacent in the space and in one segment. Runs
  // of one segment lie in it mostly in the order of their pages.
  virtual std::vector<StoredRun> stored_runs(SpaceId space) const = 0;
  // Content of present pages; every page's digest is verified. out.size() == run.page_count * kPageBytes.
  // Pages that lie near each other in a segment are read together, past the page cache: runs of some MiB are
  // fastest, in `out` aligned to 4096, by several threads.
  virtual void read(SpaceId space, PageRun run, std::span<std::byte> out) const = 0;
  // The spaces that have pages, ascending.
  virtual std::vector<SpaceId> spaces() const = 0;
  // Runs of pages whose content differs, or that only one of the two versions has. Costs what differs.
  // `other` may belong to another application.
  virtual std::vector<PageRun> differing(SpaceId space, const CheckpointReader& other) const = 0;
  // The same for two spaces of this version.
  virtual std::vector<PageRun> differing(SpaceId one, SpaceId other) const = 0;
  // As read(), for pages of which some may be absent: those read as zeroes. Returns how many are present.
  virtual std::uint64_t read_or_zero(SpaceId space, PageRun run, std::span<std::byte> out) const = 0;
};

class TableCache;  // table_cache.h

// Where a page stands that was put into a version under way.
struct PutPlace {
  enum class Kind {
    kParent,  // as in the parent version
    kAbsent,  // it reads as zeroes
    kPut,     // at `unit` of PutPages
  } kind = Kind::kParent;
  std::uint64_t unit = 0;
};

// Reads back what a writer was given, by place. Stays usable after the writer has committed, failed or ended.
// Thread-safe, also beside the writer.
class PutPages {
 public:
  virtual ~PutPages() = default;
  // out.size() is a multiple of kPageBytes; the pages lie one after the other. Not verified.
  virtual void read(std::uint64_t unit, std::span<std::byte> out) const = 0;
};

enum class Base {
  kEmpty,   // the version contains exactly the pages that are put (pages equal to the parent's cost nothing)
  kParent,  // the version starts as the parent's; put replaces, drop and keep_only remove
};

// How page data is stored. A store may mix versions written in different ways.
enum class Compression { kNone, kLz4, kZstd };

struct WriteOptions {
  Compression compression = Compression::kNone;
  int level = 0;         // of the method; 0: its default
  Version at_least = 0;  // the number of the version, if neither it nor a higher one was ever used

  bool operator==(const WriteOptions&) const = default;
};

// Builds one version. Not thread-safe but for hurry(). Destroyed without commit(): nothing remains on disk.
// What is put is written by threads of low priority while the caller goes on; a failed write shows in a later
// put, or in commit.
class CheckpointWriter {
 public:
  virtual ~CheckpointWriter() = default;
  // Content of consecutive pages. Zero pages are dropped (absent means zero); pages whose digest equals the
  // parent's are referenced, not written; so are those whose content is found elsewhere, in this version or
  // in an older one that its parent refers to. bytes.size() is a multiple of kPageBytes.
  virtual void put(SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes) = 0;
  virtual void drop(SpaceId space, PageRun run) = 0;
  // Removes every page of `space` that is not in `present` (ascending, disjoint runs; none: the whole space),
  // whether it came from the parent or was put in this version before. What is put later counts. Costs what
  // the leaves at the edges of the runs cost, not what is kept.
  virtual void keep_only(SpaceId space, std::span<const PageRun> present) = 0;
  // The spaces of the parent version, ascending. Under Base::kParent those that are never mentioned stay.
  virtual std::vector<SpaceId> parent_spaces() const = 0;
  // Where the content of a page is by now, for those who read back; also after commit and after a failure.
  virtual PutPlace find_put(SpaceId space, std::uint64_t page) = 0;
  // Called before anything is put. Pages are then stored for themselves, whatever others hold. Throws if
  // pages are compressed.
  virtual std::shared_ptr<const PutPages> put_pages() = 0;
  // The version is late: its threads no longer yield to others. Any thread may call it at any time.
  virtual void hurry() = 0;
  // Flushes, syncs, renames, syncs the directory: on return the version is durable. Fills the store's fields
  // of `description`. After a failure the writer is dead and the previous version is still the latest.
  virtual Version commit(VersionDescription& description, std::span<const std::byte> image) = 0;
};

struct VersionEntry {
  VersionDescription description;
  std::uint64_t segment_bytes = 0;
};

// What is left of versions, and what is not.
struct VerifyReport {
  struct Damage {
    Version version = 0;
    std::string cause;  // the first that was met, in one line
  };
  std::vector<Version> sound;   // ascending: every byte that they need was read and matches its digest
  std::vector<Damage> damaged;  // ascending
  // Names of files that nothing needs: of writers that died, of versions that were removed.
  std::vector<std::string> leftovers;
  std::uint64_t pages = 0;  // that were read
};

// A name for a version, which is kept as long as it has one.
struct Tag {
  Version version = 0;
  std::string label;

  bool operator==(const Tag&) const = default;
};

// What Application::reclaim() did.
struct Reclaimed {
  std::size_t segments = 0;         // that were made smaller
  std::uint64_t bytes_freed = 0;    // on disk
  std::uint64_t bytes_written = 0;  // to free them
};

struct Retention;

// One application directory.
class Application {
 public:
  virtual ~Application() = default;
  virtual const std::string& name() const = 0;
  virtual std::string path() const = 0;
  virtual int directory() const = 0;  // descriptor of the application directory, for *at() calls
  // All versions, ascending. A damaged segment is listed by list_damaged(), not here.
  virtual std::vector<VersionEntry> versions() const = 0;
  virtual std::vector<std::string> damaged() const = 0;  // one line each: file and cause
  // Throws if unknown or damaged. `tables` remembers leaves for a reader of single pages, which
  // then takes the version that this process committed last as it is, without looking at the file again.
  std::unique_ptr<CheckpointReader> open(Version version) const { return open(version, nullptr); }
  virtual std::unique_ptr<CheckpointReader> open(Version version,
                                                 std::shared_ptr<TableCache> tables) const = 0;
  // Reads all that these versions consist of (none: all versions, also those that damaged() lists), by
  // several threads. May run beside a writer.
  virtual VerifyReport verify(const std::vector<Version>& versions = {}) const = 0;
  // Removes what VerifyReport::leftovers names, unless it is needed by now.
  virtual void remove_leftovers() = 0;
  // `parent` 0: no parent. Only one writer at a time (the caller holds the run lock).
  std::unique_ptr<CheckpointWriter> begin(Version parent, Base base) { return begin(parent, base, {}); }
  virtual std::unique_ptr<CheckpointWriter> begin(Version parent, Base base, const WriteOptions& options) = 0;
  // Called before the first begin(): writers remember less from one version to the next, and take about 30
  // MiB instead of 100 where there are millions of pages. They read more.
  virtual void spare_memory() = 0;
  // Makes this version of `origin` one of this application too, which must have none, under the same number;
  // its pages are stored once. False where the file system cannot do that; then there is still none. Throws
  // Error if the version is unknown or damaged.
  virtual bool share(const Application& origin, Version version) = 0;
  // Makes one version disappear at once; its pages stay as long as other versions refer to them.
  // Refused while it is tagged.
  virtual void remove(Version version) = 0;
  // Removes what superseded() (store/retention.h) names, and returns it.
  virtual std::vector<Version> retain(const Retention& retention, const std::string& current_run_id) = 0;
  // By version, then by label.
  virtual std::vector<Tag> tags() const = 0;
  // Labels are names as check_name() takes them, but no numbers. Throws Error if the version is unknown, or
  // the label is in use.
  virtual void tag(Version version, const std::string& label) = 0;
  virtual void untag(const std::string& label) = 0;  // throws Error if there is no such label
  // Gives back the space of what is dead in the segments of removed versions. Costs what all versions' page
  // trees cost to read. Throws Error with code EBUSY while a version is being written.
  virtual Reclaimed reclaim() = 0;
};

class Store {
 public:
  // Creates the directory (0700) if it is missing and `create` is set. Refuses a directory of another user,
  // one writable by others, and symbolic links below it.
  static Store open(const std::string& path, bool create);

  const std::string& path() const { return path_; }
  int directory() const { return directory_.get(); }  // of the store, for *at() calls
  std::vector<std::string> applications() const;      // names, sorted
  bool contains(const std::string& name) const;
  std::unique_ptr<Application> application(const std::string& name) const;   // throws if unknown
  std::unique_ptr<Application> create_application(const std::string& name);  // opens it if it exists
  void remove_application(const std::string& name);                          // with everything in it
  // Names are 1 to 200 characters of [A-Za-z0-9._+-], not starting with '.' or '-'. Throws Error otherwise.
  static void check_name(const std::string& name);

 private:
  std::string path_;
  UniqueFd directory_;
};

}  // namespace ckpt::store
