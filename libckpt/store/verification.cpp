#include "store/verification.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "store/page_tree.h"
#include "store/segment.h"
#include "store/store_file.h"

namespace ckpt::store {
namespace {

constexpr std::uint64_t kChunkPages = ReadBuffers::kBytes / kPageBytes;
constexpr unsigned kMostThreads = 4;

struct ReferenceHash {
  std::size_t operator()(const Reference& reference) const {
    std::size_t hash = 0;
    std::memcpy(&hash, &reference.digest, sizeof hash);
    return hash ^ reference.place();
  }
};

// Where a page is, and what it should be.
struct StoredPage {
  std::uint32_t unit = 0;
  Digest digest;
};

using PagesOfSegments = std::map<std::uint32_t, std::vector<StoredPage>>;

// Walks the trees of all versions, each node once.
class TreeCheck {
 public:
  // Nothing, or what is damaged in the nodes of this version. Its pages are added to pages().
  std::optional<std::string> check(const OpenVersion& open) {
    PageTreeReader tree(open.segments);
    for (const SpaceRoot& space : open.manifest.spaces) {
      Node root = check(tree, space.root, kRootLevel);
      if (root.cause) return root.cause;
      if (root.pages != space.page_count) {
        return damaged(open.segment->path(), fmt::format("space {} has {} pages, and claims {}", space.id,
                                                         root.pages, space.page_count))
            .what();
      }
    }
    return std::nullopt;
  }
  PagesOfSegments& pages() { return pages_; }

 private:
  struct Node {
    std::optional<std::string> cause;  // of damage in it or below
    std::uint64_t pages = 0;           // below it
  };

  Node check(const PageTreeReader& tree, const Reference& node, unsigned level) {
    auto [known, is_new] = nodes_.try_emplace(node);
    if (!is_new) return known->second;
    Node result;
    try {
      std::shared_ptr<const Table> table = tree.load(node, level);
      for (const Reference& entry : *table) {
        if (!entry.present()) continue;
        if (level == 0) {
          pages_[entry.segment].push_back({.unit = entry.unit, .digest = entry.digest});
          ++result.pages;
        } else {
          Node below = check(tree, entry, level - 1);
          if (!result.cause) result.cause = below.cause;
          result.pages += below.pages;
        }
      }
    } catch (const Error& error) {
      result.cause = error.what();
    }
    nodes_[node] = result;
    return result;
  }

  std::unordered_map<Reference, Node, ReferenceHash> nodes_;
  PagesOfSegments pages_;
};

// What versions refer to in one segment, and whether it is there.
class PageCheck {
 public:
  PageCheck(const SegmentSet& segments, const Segment& segment, std::vector<StoredPage>& pages)
      : segments_(segments), segment_(segment), pages_(pages) {
    auto key = [](const StoredPage& page) {
      return std::tuple(page.unit, page.digest.low, page.digest.high);
    };
    std::ranges::sort(pages_, {}, key);
    auto same = [&key](const StoredPage& a, const StoredPage& b) { return key(a) == key(b); };
    pages_.erase(std::unique(pages_.begin(), pages_.end(), same), pages_.end());
  }

  // Units of pages that cannot be read or do not match, with the cause.
  std::map<std::uint32_t, std::string> run() {
    split();
    unsigned count = std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads);
    {
      std::vector<std::jthread> threads;
      for (unsigned i = 1; i < count && i < chunks_.size(); ++i) threads.emplace_back([this] { work(); });
      work();
    }
    return std::move(bad_);
  }

  std::size_t page_count() const { return pages_.size(); }

 private:
  using Chunk = std::span<const StoredPage>;

  void split() {
    for (std::size_t begin = 0; begin < pages_.size();) {
      std::size_t end = begin + 1;
      while (end < pages_.size() && pages_[end].unit - pages_[begin].unit < kChunkPages) ++end;
      chunks_.push_back(Chunk(pages_).subspan(begin, end - begin));
      begin = end;
    }
  }

  void work() {
    ReadBuffers::Buffer buffer(segments_.buffers());
    for (std::size_t i = next_++; i < chunks_.size(); i = next_++) check(chunks_[i], buffer.bytes());
  }

  void check(Chunk chunk, std::span<std::byte> buffer) {
    std::uint64_t first = chunk.front().unit;
    std::uint64_t end = std::uint64_t{chunk.back().unit} + 1;
    std::span<std::byte> bytes = buffer.first((end - first) * kPageBytes);
    try {
      if (end > segment_.page_count()) throw damaged(segment_.path(), "a page lies outside of it");
      segments_.read_pages(segment_, first, bytes);
    } catch (const Error& error) {
      if (chunk.size() == 1) return report(chunk.front(), error.what());
      for (std::size_t i = 0; i < chunk.size(); ++i) check(chunk.subspan(i, 1), buffer);  // which of them?
      return;
    }
    for (const StoredPage& page : chunk) {
      if (digest_of(bytes.subspan((page.unit - first) * kPageBytes, kPageBytes)) != page.digest)
        report(page,
               damaged(segment_.path(), fmt::format("page {} does not match its digest", page.unit)).what());
    }
  }

  void report(const StoredPage& page, const std::string& cause) {
    std::scoped_lock lock(mutex_);
    bad_.emplace(page.unit, cause);
  }

  const SegmentSet& segments_;
  const Segment& segment_;
  std::vector<StoredPage>& pages_;
  std::vector<Chunk> chunks_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  std::map<std::uint32_t, std::string> bad_;
};

using BadPages = std::map<std::uint32_t, std::map<std::uint32_t, std::string>>;  // of segments

// The first damaged page that a version refers to.
std::optional<std::string> find_bad_page(const OpenVersion& open, const BadPages& bad) {
  bool concerned = std::ranges::any_of(open.manifest.segments,
                                       [&bad](const SegmentUse& use) { return bad.contains(use.segment); });
  if (!concerned) return std::nullopt;
  std::optional<std::string> cause;
  PageTreeReader tree(open.segments);
  for (const SpaceRoot& space : open.manifest.spaces) {
    tree.visit_leaves(space, 0, kPageNumberLimit / kFanout - 1, [&](std::uint64_t, const Table& table) {
      for (const Reference& page : table) {
        auto segment = bad.find(page.segment);
        if (cause || segment == bad.end()) continue;
        if (auto found = segment->second.find(page.unit); found != segment->second.end())
          cause = found->second;
      }
    });
  }
  return cause;
}

class Verification {
 public:
  explicit Verification(const ApplicationFiles& files) : files_(files) {}

  VerifyReport run(const std::vector<Version>& versions) {
    for (Version version : versions) open(version);
    BadPages bad = check_pages();
    for (const auto& [version, open] : open_) {
      std::optional<std::string> cause = bad.empty() ? std::nullopt : find_bad_page(open, bad);
      if (cause) {
        report_.damaged.push_back({.version = version, .cause = *cause});
      } else {
        report_.sound.push_back(version);
      }
    }
    std::ranges::sort(report_.damaged, {}, &VerifyReport::Damage::version);
    return std::move(report_);
  }

 private:
  void open(Version version) {
    try {
      OpenVersion open = files_.open_version(version);
      open.segment->read_image();
      if (std::optional<std::string> cause = trees_.check(open)) {
        report_.damaged.push_back({.version = version, .cause = *cause});
        return;
      }
      for (const auto& segment : open.segments->all()) segments_.emplace(segment->version(), segment);
      open_.emplace(version, std::move(open));
    } catch (const Error& error) {
      report_.damaged.push_back({.version = version, .cause = error.what()});
    }
  }

  BadPages check_pages() {
    std::vector<std::shared_ptr<const Segment>> all;
    for (const auto& [version, segment] : segments_) all.push_back(segment);
    SegmentSet set(std::move(all));
    BadPages bad;
    for (auto& [number, pages] : trees_.pages()) {
      const Segment* segment = set.find(number);
      if (segment == nullptr) continue;  // only versions whose trees are damaged refer to it
      PageCheck check(set, *segment, pages);
      if (auto found = check.run(); !found.empty()) bad.emplace(number, std::move(found));
      report_.pages += check.page_count();
    }
    return bad;
  }

  const ApplicationFiles& files_;
  TreeCheck trees_;
  std::map<Version, OpenVersion> open_;  // whose trees are sound
  std::map<Version, std::shared_ptr<const Segment>> segments_;
  VerifyReport report_;
};

// Segments of versions that were removed which nobody refers to any more, and files of writers that died.
std::vector<std::string> leftovers(const ApplicationFiles& files) {
  ApplicationListing listing = files.list();
  std::vector<std::string> names;
  if (!listing.temporary.empty() && files.lock(ApplicationFiles::Lock::kWriter)) names = listing.temporary;
  for (Version dead : files.unreferenced(listing.dead)) names.push_back(dead_name(dead));
  return names;
}

}  // namespace

VerifyReport verify_versions(const ApplicationFiles& files, const std::vector<Version>& versions) {
  std::vector<Version> before = files.list().visible;
  VerifyReport report = Verification(files).run(versions.empty() ? before : versions);
  // What others removed in the meantime could not be read to the end.
  std::vector<Version> now = files.list().visible;
  std::erase_if(report.damaged, [&](const VerifyReport::Damage& damage) {
    return std::ranges::binary_search(before, damage.version) &&
           !std::ranges::binary_search(now, damage.version);
  });
  report.leftovers = leftovers(files);
  return report;
}

}  // namespace ckpt::store
