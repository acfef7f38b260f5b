#include "vmheap/lines.h"

#include <fmt/format.h>

#include <cerrno>
#include <mutex>
#include <shared_mutex>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "heap/line_store.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kSizeBytes = 16ULL << 40;

std::unique_ptr<LineStore> open_store(const StoreLocation& location, const LinesOptions& options) {
  if (options.version && !options.read_only)
    throw Error("only read-only lines are opened at an older version; give read_only, too", EINVAL);
  if (options.read_only || LineStore::exists(location)) {
    auto store =
        LineStore::open(location, options.read_only ? Sharing::kReader : Sharing::kWriter, options.version);
    if (store->geometry().base == 0) return store;
    throw Error(
        fmt::format("{} in {} is a heap, not lines; choose another name", location.name, location.directory),
        EINVAL);
  }
  // No address: what no heap has.
  HeapGeometry geometry{.size = kSizeBytes,
                        .regions = {{.begin = 0, .size = kSizeBytes, .line_bytes = options.line_bytes}}};
  check_geometry(geometry);
  auto store = LineStore::create(location, geometry);
  store->commit();
  return store;
}

}  // namespace

class Lines::Parts {
 public:
  Parts(std::unique_ptr<LineStore> store, const LinesOptions& options)
      : options_(options),
        store_(std::move(store)),
        line_bytes_(store_->geometry().regions.front().line_bytes) {}

  std::uint32_t line_bytes() const { return line_bytes_; }

  store::PageRun run_of(Number number) const {
    if (number >= kSizeBytes / line_bytes()) {
      throw Error(fmt::format("line {} cannot be; there are {}", number, kSizeBytes / line_bytes()), EINVAL);
    }
    std::uint64_t pages = line_bytes() / store::kPageBytes;
    return {.first_page = number * pages, .page_count = pages};
  }

  void require_size(std::size_t bytes, std::size_t lines) const {
    if (bytes == lines * line_bytes()) return;
    throw Error(fmt::format("{} bytes for {} lines of {}; this is a defect of the caller", bytes, lines,
                            line_bytes()),
                EINVAL);
  }

  // Nothing of a transaction that has failed stays.
  template <typename Work>
  void change(const Work& work) {
    if (options_.read_only) throw Error("the lines are open read-only; open them for writing", EROFS);
    std::unique_lock lock(mutex_);
    try {
      work();
    } catch (...) {
      forget();
      throw;
    }
  }

  void forget() {
    store_->abandon();
    changed_.clear();
  }

  LinesOptions options_;
  std::unique_ptr<LineStore> store_;
  std::uint32_t line_bytes_;
  mutable std::shared_mutex mutex_;     // reads share it, so that they never see half a set
  std::unordered_set<Number> changed_;  // since the last commit
};

Lines::Lines(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Lines::~Lines() = default;

std::unique_ptr<Lines> Lines::open(const std::string& directory, const LinesOptions& options) {
  auto store = open_store({.directory = directory, .name = options.name}, options);
  return std::unique_ptr<Lines>(new Lines(std::make_unique<Parts>(std::move(store), options)));
}

std::uint32_t Lines::line_bytes() const { return parts_->line_bytes(); }
std::uint64_t Lines::version() const { return parts_->store_->version(); }

void Lines::read(std::span<const Number> lines, std::span<std::byte> out) const {
  parts_->require_size(out.size(), lines.size());
  std::shared_lock lock(parts_->mutex_);
  for (Number number : lines) {
    store::PageRun run = parts_->run_of(number);
    std::span<std::byte> line = out.first(line_bytes());
    if (parts_->changed_.contains(number)) {
      parts_->store_->read_put(run, line);
    } else {
      parts_->store_->read(run, line);
    }
    out = out.subspan(line.size());
  }
}

void Lines::write(std::span<const Line> lines) {
  // What cannot be is refused before anything is changed.
  for (const Line& line : lines) {
    parts_->run_of(line.number);
    parts_->require_size(line.bytes.size(), 1);
  }
  parts_->change([&] {
    for (const Line& line : lines) {
      parts_->changed_.insert(line.number);
      parts_->store_->put(parts_->run_of(line.number).first_page, line.bytes);
    }
  });
}

void Lines::erase(std::span<const Number> lines) {
  for (Number number : lines) parts_->run_of(number);
  parts_->change([&] {
    for (Number number : lines) {
      parts_->changed_.insert(number);
      parts_->store_->drop(parts_->run_of(number));
    }
  });
}

std::uint64_t Lines::commit() {
  std::uint64_t version = 0;
  parts_->change([&] {
    if (parts_->changed_.empty()) return;
    version = parts_->store_->commit();
    parts_->changed_.clear();
  });
  if (version != 0) parts_->store_->retain(parts_->options_.keep);
  return version;
}

void Lines::abort() {
  parts_->change([&] { parts_->forget(); });
}

std::vector<HeapVersion> Lines::versions() const { return parts_->store_->versions(); }
void Lines::tag(std::uint64_t version, const std::string& label) {
  parts_->store_->application().tag(version, label);
}
void Lines::untag(const std::string& label) { parts_->store_->application().untag(label); }

}  // namespace ckpt::vmheap
