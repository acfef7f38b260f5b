#include "vmheap/heap.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <future>
#include <mutex>
#include <nlohmann/json.hpp>

#include "alloc/allocator.h"
#include "base/error.h"
#include "heap/checkpoint_keeper.h"
#include "heap/heap_memory.h"
#include "heap/line_store.h"
#include "heap/live_statistics.h"
#include "heap/pager.h"

namespace ckpt::vmheap {
namespace {

// Versions that may be there beyond those that are kept: removing them costs a directory sync, so several go
// at once.
constexpr unsigned kCommitsBetweenRemovals = 8;

StoreLocation location_of(const std::string& directory, const OpenOptions& options) {
  return {.directory = directory, .name = options.name};
}

HeapGeometry geometry_of(const CreateOptions& create) {
  HeapGeometry geometry{.base = create.base, .size = create.size, .regions = {}};
  geometry.regions.push_back({.begin = 0, .size = create.size, .line_bytes = create.line_bytes});
  for (const HeapRegion& region : create.regions) geometry.regions = replace_region(geometry.regions, region);
  return geometry;
}

// What entered the gate for another thread.
struct Leaving {
  Leaving() = default;
  ~Leaving() { Gate::left(); }
  Leaving(const Leaving&) = delete;
  Leaving& operator=(const Leaving&) = delete;
};

std::uint64_t address_of(const void* pointer) { return reinterpret_cast<std::uint64_t>(pointer); }

}  // namespace

class Heap::Parts {
 public:
  Parts(std::unique_ptr<LineStore> lines, const OpenOptions& options)
      : options_(options),
        store_(std::move(lines)),
        memory_(store_->geometry().base, store_->geometry().size, !options.read_only),
        pager_(memory_, *store_, options),
        kept_(*store_, memory_, pager_, options.read_only ? Sharing::kReader : Sharing::kWriter) {}

  void start_allocator() {
    // A damaged first line is an error here, and would be a signal there.
    ByteRange first = memory_.view(0, kSuperblockBytes);
    pager_.pin(first, Access::kRead);
    pager_.unpin(first);
    allocator_ = std::make_unique<Allocator>(
        reinterpret_cast<std::byte*>(memory_.base()), memory_.size(),
        [this](std::byte* begin, std::uint64_t size) { tell_pager(&Pager::discard, begin, size); },
        [this](std::byte* begin, std::uint64_t size) { tell_pager(&Pager::prepare, begin, size); });
  }

  // By the allocator: it holds locks, and it would only be better.
  void tell_pager(void (Pager::*what)(ByteRange), std::byte* begin, std::uint64_t size) {
    if (!Gate::try_enter()) return;
    (pager_.*what)({.begin = address_of(begin), .size = size});
    Gate::left();
  }

  ByteRange checked(const void* begin, std::size_t size) const {
    std::uint64_t offset = address_of(begin) - memory_.base();
    if (address_of(begin) < memory_.base() || offset > memory_.size() || size > memory_.size() - offset) {
      throw Error(fmt::format("{}+{} is not in the heap; this is a defect of the caller", begin, size),
                  EINVAL);
    }
    return {.begin = address_of(begin), .size = size};
  }

  void freeze() {
    auto quiet = allocator_->freeze();
    pager_.freeze();
  }

  std::uint64_t finish() {
    std::uint64_t version = pager_.finish_commit();
    if (++commits_ % kCommitsBetweenRemovals == 0) store_->retain(options_.keep);
    return version;
  }

  OpenOptions options_;
  std::unique_ptr<LineStore> store_;
  HeapMemory memory_;
  Pager pager_;
  KeptHeap kept_;
  std::unique_ptr<Allocator> allocator_;
  std::mutex shape_mutex_;  // of whoever changes size or regions
  std::mutex background_mutex_;
  std::future<std::uint64_t> background_;
  unsigned commits_ = 0;
};

Heap::Heap(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Heap::~Heap() {
  Gate::Pass pass;
  end();
  parts_.reset();
}

void Heap::end() {
  if (parts_->background_.valid()) parts_->background_.wait();
  if (parts_->options_.read_only || parts_->commits_ == 0) return;
  try {
    parts_->store_->retain(parts_->options_.keep);
  } catch (const Error&) {
    // They go the next time.
  }
}

std::unique_ptr<Heap> Heap::create(const std::string& directory, const CreateOptions& create,
                                   const OpenOptions& options) {
  Gate::Pass pass;
  HeapGeometry geometry = geometry_of(create);
  check_geometry(geometry);
  auto lines = LineStore::create(location_of(directory, options), geometry);
  auto parts = std::make_unique<Parts>(std::move(lines), options);
  geometry.base = parts->memory_.base();
  parts->store_->set_geometry(geometry);
  Allocator::format(reinterpret_cast<std::byte*>(geometry.base), geometry.size);
  parts->start_allocator();
  auto heap = std::unique_ptr<Heap>(new Heap(std::move(parts)));
  heap->commit();
  return heap;
}

std::unique_ptr<Heap> Heap::open(const std::string& directory, const OpenOptions& options) {
  Gate::Pass pass;
  if (options.version && !options.read_only) {
    throw Error("only a read-only heap opens an older version; open the heap and roll it back", EINVAL);
  }
  auto lines = LineStore::open(location_of(directory, options),
                               options.read_only ? Sharing::kReader : Sharing::kWriter, options.version);
  if (lines->geometry().base == 0) {
    throw Error(
        fmt::format("{} in {} holds lines, and is not a heap; choose another name", options.name, directory),
        EINVAL);
  }
  auto parts = std::make_unique<Parts>(std::move(lines), options);
  parts->start_allocator();
  return std::unique_ptr<Heap>(new Heap(std::move(parts)));
}

std::unique_ptr<Heap> Heap::open_or_create(const std::string& directory, const CreateOptions& create,
                                           const OpenOptions& options) {
  bool exists = LineStore::exists(location_of(directory, options));
  return exists ? open(directory, options) : Heap::create(directory, create, options);
}

std::byte* Heap::base() const { return reinterpret_cast<std::byte*>(parts_->memory_.base()); }
std::uint64_t Heap::size() const { return parts_->memory_.size(); }
std::vector<HeapRegion> Heap::regions() const { return parts_->store_->geometry().regions; }
bool Heap::contains(const void* address) const {
  return address_of(address) - parts_->memory_.base() < size();
}
bool Heap::serves_system_calls() const { return parts_->pager_.serves_kernel(); }

// By the calling thread: to make one and wait for it would cost a small commit a fifth of its time.
std::uint64_t Heap::commit() {
  Gate::Pass pass;
  std::lock_guard lock(parts_->background_mutex_);
  if (parts_->background_.valid()) parts_->background_.wait();
  parts_->background_ = {};
  parts_->freeze();
  return parts_->finish();
}

void Heap::commit_in_background() {
  Gate::Pass pass;
  std::lock_guard lock(parts_->background_mutex_);
  if (parts_->background_.valid()) parts_->background_.wait();
  parts_->freeze();
  // Not started before somebody waits, unless a thread can be had.
  Gate::entered();
  try {
    parts_->background_ = std::async(std::launch::async, [this] {
      Leaving leaving;
      return parts_->finish();
    });
  } catch (...) {
    Gate::left();
    throw;
  }
}

std::uint64_t Heap::wait_for_commit() {
  std::lock_guard lock(parts_->background_mutex_);
  if (!parts_->background_.valid()) return parts_->store_->program_version();
  return parts_->background_.get();
}

bool Heap::committing() const {
  std::lock_guard lock(parts_->background_mutex_);
  return parts_->background_.valid() &&
         parts_->background_.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
}

void Heap::roll_back(std::optional<std::uint64_t> version) {
  Gate::Pass pass;
  if (parts_->options_.read_only) throw Error("the heap is open read-only; open that version instead", EROFS);
  {
    std::lock_guard lock(parts_->background_mutex_);
    if (parts_->background_.valid()) parts_->background_.wait();
  }
  std::lock_guard shape(parts_->shape_mutex_);
  std::uint64_t to = version ? *version : parts_->store_->program_version();
  HeapGeometry geometry = parts_->store_->geometry();
  Regions then = parts_->store_->geometry_of(to).regions;
  Regions longest = extend(geometry.regions, then);
  if (longest != geometry.regions) parts_->pager_.grow(longest);
  // The address range does not shrink.
  geometry = {.base = geometry.base, .size = parts_->memory_.size(), .regions = extend(then, longest)};
  parts_->pager_.roll_back(to, geometry.regions);
  parts_->store_->set_geometry(geometry);
  parts_->start_allocator();
  parts_->allocator_->grow(geometry.size);
}

std::vector<HeapVersion> Heap::versions() const {
  Gate::Pass pass;
  return parts_->store_->versions();
}

void Heap::remove_version(std::uint64_t version) {
  Gate::Pass pass;
  if (version == parts_->store_->version() || version == parts_->store_->program_version()) {
    throw Error(fmt::format("the heap builds on version {}; remove others, or commit first", version), EBUSY);
  }
  parts_->store_->application().remove(version);
}

void Heap::tag(std::uint64_t version, const std::string& label) {
  Gate::Pass pass;
  parts_->store_->application().tag(version, label);
}

void Heap::untag(const std::string& label) {
  Gate::Pass pass;
  parts_->store_->application().untag(label);
}

std::uint64_t Heap::tagged(const std::string& label) const {
  Gate::Pass pass;
  return parts_->store_->tagged(label);
}

void* Heap::root(std::string_view name) const { return parts_->allocator_->root(name); }
void Heap::set_root(std::string_view name, void* address) { parts_->allocator_->set_root(name, address); }

void* Heap::allocate(std::size_t size, std::size_t alignment) {
  return parts_->allocator_->allocate(size, alignment);
}

void* Heap::allocate_zeroed(std::size_t size) {
  void* memory = allocate(size);
  if (memory != nullptr) std::memset(memory, 0, size);
  return memory;
}

void* Heap::reallocate(void* memory, std::size_t size) {
  if (memory == nullptr) return allocate(size);
  std::size_t usable = usable_size(memory);
  // Not for the sake of a little: the same place, unless half of it would be unused.
  if (size <= usable && size > usable / 2) return memory;
  void* other = allocate(size);
  if (other == nullptr) return size <= usable ? memory : nullptr;
  std::memcpy(other, memory, std::min(size, usable));
  deallocate(memory);
  return other;
}

void Heap::deallocate(void* memory) { parts_->allocator_->deallocate(memory); }
std::size_t Heap::usable_size(const void* memory) const { return parts_->allocator_->usable_size(memory); }

void Heap::will_need(const void* begin, std::size_t size) {
  Gate::Pass pass;
  parts_->pager_.will_need(parts_->checked(begin, size));
}

void Heap::cold(const void* begin, std::size_t size) {
  Gate::Pass pass;
  parts_->pager_.cold(parts_->checked(begin, size));
}

void Heap::discard(const void* begin, std::size_t size) {
  Gate::Pass pass;
  parts_->pager_.discard(parts_->checked(begin, size));
}

void Heap::set_pattern(const void* begin, std::size_t size, AccessPattern pattern) {
  Gate::Pass pass;
  parts_->pager_.set_pattern(parts_->checked(begin, size), pattern);
}

void Heap::set_kind(const void* begin, std::size_t size, RangeKind kind) {
  Gate::Pass pass;
  parts_->pager_.set_kind(parts_->checked(begin, size), kind);
}

void Heap::set_resident_limit(std::uint64_t bytes) {
  Gate::Pass pass;
  parts_->pager_.set_resident_limit(bytes);
}

void Heap::grow(std::uint64_t size, std::uint32_t line_bytes) {
  Gate::Pass pass;
  std::lock_guard shape(parts_->shape_mutex_);
  HeapGeometry geometry = parts_->store_->geometry();
  if (size < geometry.size) throw Error("a heap does not shrink; discard what is not needed", EINVAL);
  if (size == geometry.size) return;
  if (line_bytes == 0) line_bytes = geometry.regions.back().line_bytes;
  std::uint64_t before = std::exchange(geometry.size, size);
  geometry.regions =
      replace_region(geometry.regions, {.begin = before, .size = size - before, .line_bytes = line_bytes});
  check_geometry(geometry);
  parts_->pager_.grow(geometry.regions);
  parts_->store_->set_geometry(geometry);
  parts_->allocator_->grow(size);
}

void Heap::set_line_bytes(const void* begin, std::size_t size, std::uint32_t line_bytes) {
  Gate::Pass pass;
  std::lock_guard shape(parts_->shape_mutex_);
  ByteRange range = parts_->checked(begin, size);
  HeapGeometry geometry = parts_->store_->geometry();
  geometry.regions = replace_region(
      geometry.regions, {.begin = range.begin - geometry.base, .size = size, .line_bytes = line_bytes});
  check_geometry(geometry);
  parts_->pager_.set_regions(geometry.regions, range);
  parts_->store_->set_geometry(geometry);
}

Statistics Heap::statistics() const {
  Gate::Pass pass;
  return parts_->pager_.statistics();
}

void Heap::pin(const void* begin, std::size_t size, PinFor use) {
  Gate::Pass pass;
  parts_->pager_.pin(parts_->checked(begin, size), use == PinFor::kWriting ? Access::kWrite : Access::kRead);
}

void Heap::unpin(const void* begin, std::size_t size) {
  Gate::Pass pass;
  parts_->pager_.unpin(parts_->checked(begin, size));
}

std::string Statistics::json() const {
  nlohmann::ordered_json object;
  for (const auto& [name, field] : kStatisticsFields) object[name] = this->*field;
  object["failure"] = failure;
  return object.dump();
}

}  // namespace ckpt::vmheap
