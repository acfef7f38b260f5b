#include "heap/line_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/parse.h"
#include "store/retention.h"

namespace ckpt::vmheap {
namespace {

constexpr const char* kWriterLock = "heap.lock";
constexpr const char* kRunId = "vmheap";
constexpr const char* kCheckpointRunId = "vmheap-checkpoint";
// Tables of 12 KiB for 2 MiB of heap each: 3 GiB.
constexpr std::size_t kCachedTables = 1536;

std::string where(const store::Application& application) { return application.path(); }

store::Version newest_version(const store::Application& application) {
  store::Version newest = 0;
  for (const store::VersionEntry& entry : application.versions()) {
    if (entry.description.run_id != kCheckpointRunId) newest = entry.description.version;
  }
  return newest;
}

// Where a segment cannot even be listed, what was committed last may be in it: nobody should go on from an
// older version without being told.
void require_sound(const store::Application& application, store::Version newest) {
  for (const std::string& line : application.damaged()) {
    std::size_t number = line.rfind("/v") + 2;
    auto version = parse_unsigned(std::string_view(line).substr(number, line.find('.', number) - number));
    if (version && *version < newest) continue;
    throw Error(
        newest == 0 ? line : fmt::format("{}: ckpt heap rollback makes version {} the newest", line, newest),
        EBADMSG);
  }
}

// Throws Error if there is none.
std::unique_ptr<store::Application> find_application(const StoreLocation& location) {
  std::string path = location.directory + "/" + location.name;
  if (::access(path.c_str(), F_OK) != 0) {
    throw Error(fmt::format("there is no heap {} in {}; create it, or name another", location.name,
                            location.directory),
                ENOENT);
  }
  return store::Store::open(location.directory, false).application(location.name);
}

struct FreeBytes {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};

}  // namespace

// The lock goes with the descriptor, however the process ends.
UniqueFd lock_for_writing(const store::Application& application) {
  UniqueFd lock(
      ::openat(application.directory(), kWriterLock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) throw_errno(fmt::format("open {}/{}", where(application), kWriterLock));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) throw_errno(fmt::format("lock {}/{}", where(application), kWriterLock));
  throw Error(fmt::format("heap {} is open for writing elsewhere; wait for it to close, or open it read-only",
                          where(application)),
              EBUSY);
}

LineStore::LineStore(std::unique_ptr<store::Application> application, UniqueFd lock,
                     const HeapGeometry& geometry)
    : application_(std::move(application)),
      lock_(std::move(lock)),
      tables_(std::make_shared<store::TableCache>(kCachedTables)),
      geometry_(geometry) {}

bool LineStore::exists(const StoreLocation& location) {
  if (::access(location.directory.c_str(), F_OK) != 0) return false;
  store::Store store = store::Store::open(location.directory, false);
  if (!store.contains(location.name)) return false;
  auto application = store.application(location.name);
  return newest_version(*application) != 0 || !application->damaged().empty();
}

std::unique_ptr<LineStore> LineStore::create(const StoreLocation& location, const HeapGeometry& geometry) {
  store::Store store = store::Store::open(location.directory, true);
  std::unique_ptr<store::Application> application = store.create_application(location.name);
  UniqueFd lock = lock_for_writing(*application);
  if (newest_version(*application) != 0) {
    throw Error(fmt::format("{} exists; open it, or choose another name", where(*application)), EEXIST);
  }
  return std::unique_ptr<LineStore>(new LineStore(std::move(application), std::move(lock), geometry));
}

std::unique_ptr<LineStore> LineStore::open(const StoreLocation& location, Sharing sharing,
                                           std::optional<store::Version> version) {
  std::unique_ptr<store::Application> application = find_application(location);
  UniqueFd lock;
  if (sharing == Sharing::kWriter) lock = lock_for_writing(*application);
  store::Version chosen = version ? *version : newest_version(*application);
  if (!version) require_sound(*application, chosen);
  if (chosen == 0)
    throw Error(fmt::format("{} has no version; create the heap anew", where(*application)), ENOENT);
  auto result = std::unique_ptr<LineStore>(new LineStore(std::move(application), std::move(lock), {}));
  result->open_version(chosen);
  return result;
}

void LineStore::reopen(const StoreLocation& location, Sharing sharing, store::Version version) {
  std::unique_ptr<store::Application> application = find_application(location);
  UniqueFd lock;
  if (sharing == Sharing::kWriter) lock = lock_for_writing(*application);
  abandon();
  application_ = std::move(application);
  lock_ = std::move(lock);
  tables_ = std::make_shared<store::TableCache>(kCachedTables);
  open_version(version);
}

void LineStore::open_version(store::Version version) {
  std::shared_ptr<const store::CheckpointReader> opened = application_->open(version, tables_);
  HeapGeometry geometry = geometry_in(*opened);
  std::lock_guard lock(mutex_);
  geometry_ = std::move(geometry);
  for_checkpoint_ = opened->description().run_id == kCheckpointRunId;
  reader_ = std::move(opened);
  version_ = version;
  if (!for_checkpoint_) program_version_ = version;
}

HeapGeometry LineStore::geometry_in(const store::CheckpointReader& reader) const {
  return parse_geometry(reader.image(),
                        fmt::format("{}, version {},", where(*application_), reader.description().version));
}

HeapGeometry LineStore::geometry_of(store::Version version) const {
  return geometry_in(*application_->open(version, tables_));
}

HeapGeometry LineStore::geometry() const {
  std::lock_guard lock(mutex_);
  return geometry_;
}

std::optional<FileIdentity> LineStore::lock_identity() const {
  if (lock_) return identity_of(lock_.get());
  UniqueFd lock(::openat(application_->directory(), kWriterLock, O_PATH | O_CLOEXEC | O_NOFOLLOW));
  return lock ? std::optional(identity_of(lock.get())) : std::nullopt;
}

void LineStore::set_geometry(const HeapGeometry& geometry) {
  std::lock_guard lock(mutex_);
  geometry_ = geometry;
}

std::shared_ptr<const store::CheckpointReader> LineStore::reader() const {
  std::lock_guard lock(mutex_);
  return reader_;
}

store::Version LineStore::version() const {
  std::lock_guard lock(mutex_);
  return version_;
}

bool LineStore::is_for_checkpoint() const {
  std::lock_guard lock(mutex_);
  return for_checkpoint_;
}

store::Version LineStore::program_version() const {
  std::lock_guard lock(mutex_);
  return program_version_;
}

std::vector<HeapVersion> LineStore::versions() const {
  std::vector<HeapVersion> result;
  for (const store::VersionEntry& entry : application_->versions()) {
    const store::VersionDescription& description = entry.description;
    result.push_back({.version = description.version,
                      .parent = description.parent,
                      .created_realtime_ns = description.created_realtime_ns,
                      .pages_written = description.stats.pages_written,
                      .bytes_written = description.stats.bytes_written,
                      .disk_bytes = entry.segment_bytes,
                      .of_checkpoint = description.run_id == kCheckpointRunId,
                      .application = description.working_directory});
  }
  for (const store::Tag& tag : application_->tags()) {
    auto of = std::ranges::find(result, tag.version, &HeapVersion::version);
    if (of != result.end()) of->tags.push_back(tag.label);
  }
  return result;
}

store::Version LineStore::tagged(const std::string& label) const {
  for (const store::Tag& tag : application_->tags()) {
    if (tag.label == label) return tag.version;
  }
  throw Error(fmt::format("no version of {} is tagged {}; see its versions", where(*application_), label),
              ENOENT);
}

bool LineStore::failed() const {
  std::lock_guard lock(mutex_);
  return failed_;
}

std::uint64_t LineStore::read(store::PageRun run, std::span<std::byte> out) const {
  if (auto from = reader()) return from->read_or_zero(kHeapSpace, run, out);
  std::ranges::fill(out, std::byte{});
  return 0;
}

std::uint64_t LineStore::read_put(store::PageRun run, std::span<std::byte> out) {
  std::uint64_t present = 0;
  for (std::uint64_t i = 0; i < run.page_count; ++i) {
    std::span<std::byte> page = out.subspan(i * store::kPageBytes, store::kPageBytes);
    store::PutPlace place;
    std::shared_ptr<const store::PutPages> pages;
    {
      std::lock_guard lock(writing_);
      if (writer_) place = writer_->find_put(kHeapSpace, run.first_page + i);
      pages = put_pages_;
    }
    switch (place.kind) {
      case store::PutPlace::Kind::kPut:
        pages->read(place.unit, page);
        ++present;
        break;
      case store::PutPlace::Kind::kAbsent:
        std::ranges::fill(page, std::byte{});
        break;
      case store::PutPlace::Kind::kParent:
        present += read({.first_page = run.first_page + i, .page_count = 1}, page);
        break;
    }
  }
  return present;
}

store::CheckpointWriter& LineStore::writer() {
  if (failed())
    throw Error(fmt::format("{} could not be written before; commit again", where(*application_)), EIO);
  if (!writer_) {
    writer_ = application_->begin(version(), store::Base::kParent);
    put_pages_ = writer_->put_pages();
  }
  return *writer_;
}

template <typename Work>
void LineStore::noting_failure(const Work& work) {
  try {
    work();
  } catch (...) {
    std::lock_guard lock(mutex_);
    failed_ = true;
    throw;
  }
}

void LineStore::put(std::uint64_t first_page, std::span<const std::byte> bytes) {
  std::lock_guard lock(writing_);
  store::CheckpointWriter& to = writer();
  noting_failure([&] {
    to.put(kHeapSpace, first_page, bytes);
    bytes_put_ += bytes.size();
  });
}

void LineStore::drop(store::PageRun run) {
  std::lock_guard lock(writing_);
  store::CheckpointWriter& from = writer();
  noting_failure([&] { from.drop(kHeapSpace, run); });
}

store::Version LineStore::commit(CommitFor whom, const std::string& application) {
  std::lock_guard lock(writing_);
  store::CheckpointWriter& last = writer();
  store::VersionDescription description;
  description.created_realtime_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count();
  description.run_id = whom == CommitFor::kCheckpoint ? kCheckpointRunId : kRunId;
  description.command = {kRunId};
  if (whom == CommitFor::kCheckpoint) description.working_directory = application;
  description.process_count = 0;
  description.pid = ::getpid();
  description.stats.mode = "heap";
  store::Version version = 0;
  std::vector<std::byte> image = image_of(geometry());
  noting_failure([&] { version = last.commit(description, image); });
  std::shared_ptr<const store::CheckpointReader> opened = application_->open(version, tables_);
  writer_.reset();
  put_pages_.reset();
  std::lock_guard swap(mutex_);
  reader_ = std::move(opened);
  version_ = version;
  for_checkpoint_ = whom == CommitFor::kCheckpoint;
  if (!for_checkpoint_) program_version_ = version;
  return version;
}

void LineStore::restart(std::span<const store::PageRun> put_before) {
  std::lock_guard lock(writing_);
  std::unique_ptr<store::CheckpointWriter> dead = std::move(writer_);
  std::shared_ptr<const store::PutPages> pages = std::move(put_pages_);
  try {
    auto fresh = application_->begin(version(), store::Base::kParent);
    auto fresh_pages = fresh->put_pages();
    // Past the page cache, hence aligned.
    std::unique_ptr<std::byte, FreeBytes> buffer(
        static_cast<std::byte*>(std::aligned_alloc(store::kPageBytes, store::kPageBytes)));
    std::span<std::byte> bytes(buffer.get(), store::kPageBytes);
    for (const store::PageRun& run : put_before) {
      for (std::uint64_t page = run.first_page; page < run.first_page + run.page_count; ++page) {
        store::PutPlace place = dead ? dead->find_put(kHeapSpace, page) : store::PutPlace();
        if (place.kind == store::PutPlace::Kind::kParent) continue;
        if (place.kind == store::PutPlace::Kind::kAbsent) {
          fresh->drop(kHeapSpace, {.first_page = page, .page_count = 1});
        } else {
          pages->read(place.unit, bytes);
          fresh->put(kHeapSpace, page, bytes);
        }
      }
    }
    writer_ = std::move(fresh);
    put_pages_ = std::move(fresh_pages);
  } catch (...) {
    // Still the only place where those pages are.
    writer_ = std::move(dead);
    put_pages_ = std::move(pages);
    throw;
  }
  std::lock_guard success(mutex_);
  failed_ = false;
}

void LineStore::abandon() {
  std::lock_guard lock(writing_);
  writer_.reset();
  put_pages_.reset();
  std::lock_guard success(mutex_);
  failed_ = false;
}

void LineStore::go_to(store::Version version) {
  abandon();
  if (version == 0) {
    std::lock_guard lock(mutex_);
    reader_.reset();
    version_ = program_version_ = 0;
    for_checkpoint_ = false;
    return;
  }
  open_version(version);
}

void LineStore::retain(std::size_t keep) {
  application_->retain({.last = keep, .apart = kCheckpointRunId}, kRunId);
}

}  // namespace ckpt::vmheap
