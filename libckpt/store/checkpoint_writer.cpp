#include "store/checkpoint_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bitset>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>

#include "store/store_file.h"
#include "store/tree_builder.h"

namespace ckpt::store {
namespace {

constexpr std::uint64_t kUnitLimit = std::numeric_limits<std::uint32_t>::max();

bool is_zero(std::span<const std::byte> page) {
  // Most pages that are not zero show it in their first bytes; then memcmp against itself, shifted, runs at
  // full speed.
  constexpr std::size_t kProbe = 16;
  static constexpr std::array<std::byte, kProbe> kZeroes{};
  return std::memcmp(page.data(), kZeroes.data(), kProbe) == 0 &&
         std::memcmp(page.data(), page.data() + kProbe, page.size() - kProbe) == 0;
}

void check_range(std::uint64_t first_page, std::uint64_t page_count) {
  if (first_page >= kPageNumberLimit || page_count > kPageNumberLimit - first_page) {
    throw Error(fmt::format("pages {:#x}+{:#x} are beyond 57 bits of address; this is a defect of the caller",
                            first_page, page_count));
  }
}

// Those who clean up have it for a moment; another writer has it for long.
UniqueFd take_lock(const ApplicationFiles& files, ApplicationFiles::Lock kind) {
  constexpr std::chrono::milliseconds kPatience{500};
  auto end = std::chrono::steady_clock::now() + kPatience;
  auto lock = files.lock(kind);
  while (!lock && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    lock = files.lock(kind);
  }
  if (!lock) {
    throw Error(fmt::format("another checkpoint of '{}' is being written; wait for it to end", files.name()),
                EBUSY);
  }
  return std::move(*lock);
}

std::uint32_t checked_unit(std::uint64_t unit) {
  if (unit > kUnitLimit)
    throw Error("the checkpoint exceeds 16 TiB of new pages; checkpoint more often", EFBIG);
  return static_cast<std::uint32_t>(unit);
}

}  // namespace

SegmentWriter::SegmentWriter(std::shared_ptr<const ApplicationFiles> files,
                             std::shared_ptr<WriterMemory> memory, Version parent, Base base,
                             const WriteOptions& options)
    : files_(std::move(files)),
      memory_(std::move(memory)),
      writer_lock_(take_lock(*files_, ApplicationFiles::Lock::kWriter)),
      dead_lock_(take_lock(*files_, ApplicationFiles::Lock::kKeepDead)),
      base_(base),
      spill_(files_->directory(), files_->path()),
      compressed_(options.compression != Compression::kNone) {
  ApplicationListing listing = files_->list();
  for (const std::string& stale : listing.temporary) files_->unlink(stale);
  version_ = std::max(listing.highest() + 1, options.at_least);
  if (version_ > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(fmt::format("'{}' has used all version numbers; start a new application", files_->name()));
  }
  if (parent != 0) {
    open_parent(parent);
    evacuation_ = Evacuation(parent_->manifest.segments, *parent_->segments, listing.dead);
  }
  output_.emplace(files_->directory(), files_->path(), temporary_name(version_), memory_->buffers, priority_);
  pages_.emplace(*output_, options, priority_);
  find_equal_pages(listing);
}

void SegmentWriter::find_equal_pages(const ApplicationListing& listing) {
  EqualPages::Places places{.own = static_cast<std::uint32_t>(version_)};
  if (parent_) {
    places.segments = parent_->segments;
    for (const SegmentUse& use : parent_->manifest.segments) {
      bool is_dead = std::ranges::binary_search(listing.dead, Version{use.segment});
      if (!is_dead && !evacuation_.empties(use.segment)) places.usable.push_back(use.segment);
    }
  }
  if (!compressed_) {
    places.read_own = [this](std::uint64_t unit, std::span<std::byte> out) {
      output_->put_pages()->read(unit, out);
    };
  }
  equal_.emplace(memory_->known_pages, std::move(places));
}

void SegmentWriter::open_parent(Version parent) {
  const std::optional<OpenVersion>& last = memory_->last;
  bool known = last && last->segment->version() == parent && files_->is_visible(*last->segment);
  parent_ = known ? *last : files_->open_version(parent);
  parent_tree_ = std::make_unique<PageTreeReader>(parent_->segments, memory_->nodes);
}

void SegmentWriter::check_alive() const {
  if (!output_) {
    throw Error(fmt::format("version {} of '{}' was committed or has failed; begin a new one", version_,
                            files_->name()));
  }
}

SpaceChanges& SegmentWriter::space(SpaceId id) {
  auto found = spaces_.find(id);
  if (found == spaces_.end()) {
    const SpaceRoot* root = parent_ ? parent_->manifest.find_space(id) : nullptr;
    SpaceRoot none{.id = id, .page_count = 0, .root = {}};
    found = spaces_.try_emplace(id, root != nullptr ? *root : none, parent_tree_.get(), base_, spill_).first;
  }
  return found->second;
}

std::vector<SpaceId> SegmentWriter::parent_spaces() const {
  std::vector<SpaceId> ids;
  if (!parent_) return ids;
  ids.reserve(parent_->manifest.spaces.size());
  for (const SpaceRoot& root : parent_->manifest.spaces) ids.push_back(root.id);
  return ids;
}

void SegmentWriter::put(SpaceId id, std::uint64_t first_page, std::span<const std::byte> bytes) {
  check_alive();
  if (bytes.size() % kPageBytes != 0) throw Error("put needs whole pages; this is a defect of the caller");
  check_range(first_page, bytes.size() / kPageBytes);
  dying_on_error([&] {
    SpaceChanges& target = space(id);
    while (!bytes.empty()) {
      std::size_t index = first_page % kFanout;
      std::size_t count = std::min(bytes.size() / kPageBytes, kFanout - index);
      put_in_leaf(target, first_page / kFanout, index, bytes.first(count * kPageBytes));
      count_changes(count);
      bytes = bytes.subspan(count * kPageBytes);
      first_page += count;
    }
  });
}

PutPlace SegmentWriter::find_put(SpaceId id, std::uint64_t page) {
  auto found = spaces_.find(id);
  if (found == spaces_.end()) return {};
  std::optional<Reference> change = found->second.find_change(page);
  if (!change) return {};
  if (!change->present()) return {.kind = PutPlace::Kind::kAbsent};
  if (change->segment != version_) return {};
  return {.kind = PutPlace::Kind::kPut, .unit = change->unit};
}

std::shared_ptr<const PutPages> SegmentWriter::put_pages() {
  check_alive();
  if (compressed_) throw Error("compressed pages cannot be read back; this is a defect of the caller");
  if (!spaces_.empty() && !is_read_back_)
    throw Error("what is to be read back has been put already; this is a defect of the caller");
  is_read_back_ = true;
  equal_.reset();
  return output_->put_pages();
}

void SegmentWriter::count_changes(std::size_t count) {
  changes_in_memory_ += count;
  if (changes_in_memory_ <= memory_->changes_in_memory) return;
  for (auto& [id, changed] : spaces_) changed.spill();
  changes_in_memory_ = 0;
}

void SegmentWriter::end() {
  equal_.reset();
  pages_.reset();
  output_.reset();
  writer_lock_.reset();
  dead_lock_.reset();
}

void SegmentWriter::put_in_leaf(SpaceChanges& space, std::uint64_t leaf, std::size_t first_index,
                                std::span<const std::byte> bytes) {
  const Table* parent = space.parent_leaf(leaf);
  LeafChanges& changes = space.changes()[leaf];
  std::size_t count = bytes.size() / kPageBytes;
  if (changes.pages.empty()) changes.pages.reserve(count);
  digests_.resize(count);
  std::size_t begin = 0;  // pages before it are settled; those from it on are new
  auto add_new = [&](std::size_t end) {
    while (begin < end) {
      begin += add_new_pages(changes, first_index + begin, bytes.subspan(begin * kPageBytes),
                             std::span(digests_).subspan(begin, end - begin));
    }
    begin = end + 1;
  };
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t index = first_index + i;
    auto page = bytes.subspan(i * kPageBytes, kPageBytes);
    bool zero = is_zero(page);
    if (!zero) digests_[i] = digest_of(page);
    bool unchanged =
        !zero && parent != nullptr && (*parent)[index].present() && (*parent)[index].digest == digests_[i];
    if (!zero && !unchanged) continue;
    add_new(i);
    changes.add(index, zero ? Reference{} : (*parent)[index]);
    if (unchanged) ++pages_skipped_;
  }
  add_new(count);
}

// At least one of them; returns how many.
std::size_t SegmentWriter::add_new_pages(LeafChanges& changes, std::size_t first_index,
                                         std::span<const std::byte> bytes, std::span<const Digest> digests) {
  Reference first;
  std::size_t equal = equal_ ? equal_->find(bytes, digests, pages_->page_count(), first) : 0;
  for (std::size_t i = 0; i < equal; ++i) {
    changes.add(
        first_index + i,
        {.segment = first.segment, .unit = first.unit + static_cast<std::uint32_t>(i), .digest = digests[i]});
  }
  if (equal > 0) return equal;
  changes.add(first_index, append_page(bytes.first(kPageBytes), digests.front()));
  return 1;
}

Reference SegmentWriter::append_page(std::span<const std::byte> page, const Digest& digest) {
  std::uint32_t unit = checked_unit(pages_->page_count());
  pages_->append(page);
  Reference reference{.segment = static_cast<std::uint32_t>(version_), .unit = unit, .digest = digest};
  if (equal_) equal_->add(reference);
  return reference;
}

void SegmentWriter::drop(SpaceId id, PageRun run) {
  check_alive();
  check_range(run.first_page, run.page_count);
  dying_on_error([&] { space(id).drop(run); });
}

void SegmentWriter::keep_only(SpaceId id, std::span<const PageRun> present) {
  check_alive();
  KeptPages kept(present);
  dying_on_error([&] { space(id).keep_only(kept); });
}

void SegmentWriter::evacuate_pages(SpaceChanges& space) {
  std::vector<std::uint64_t> touched;
  for (auto& [leaf, changes] : space.changes()) {
    touched.push_back(leaf);
    // Pages that were put and found equal to the parent's.
    space.edit(changes, [&](LeafChanges& all) {
      all.normalize();
      for (PageChange& page : all.pages) {
        if (evacuation_.take_page(page.reference.segment)) page.reference = move_page(page.reference);
      }
    });
  }
  if (!space.parent_remains()) return;
  // An entry without changes has the nodes on its way looked at too.
  std::ranges::copy(leaves_to_look_at(space), std::back_inserter(touched));
  for (std::uint64_t leaf : touched) {
    const Table* parent = space.parent_leaf(leaf);
    LeafChanges& changes = space.changes()[leaf];
    if (parent == nullptr || changes.cleared) continue;
    space.edit(changes, [&](LeafChanges& all) { evacuate_leaf(*parent, all); });
  }
}

// All of the parent, or some others with each version, so that every leaf has its turn.
std::vector<std::uint64_t> SegmentWriter::leaves_to_look_at(const SpaceChanges& space) const {
  constexpr std::uint64_t kLeavesPerVersion = 64;
  std::vector<std::uint64_t> leaves;
  parent_tree_->visit_leaf_numbers(
      space.parent(), [](std::uint64_t, std::uint64_t) { return false; },
      [&](std::uint64_t leaf) { leaves.push_back(leaf); });
  if (evacuation_.walks_everything() || leaves.size() <= kLeavesPerVersion) return leaves;
  auto start = static_cast<std::ptrdiff_t>(version_ * kLeavesPerVersion % leaves.size());
  std::rotate(leaves.begin(), leaves.begin() + start, leaves.end());
  leaves.resize(kLeavesPerVersion);
  return leaves;
}

void SegmentWriter::evacuate_leaf(const Table& parent, LeafChanges& changes) {
  std::bitset<kFanout> changed;
  for (const PageChange& page : changes.pages) changed.set(page.index);
  for (std::size_t i = 0; i < kFanout; ++i) {
    if (!changed[i] && evacuation_.take_page(parent[i].segment)) changes.add(i, move_page(parent[i]));
  }
}

Reference SegmentWriter::move_page(const Reference& page) {
  if (auto moved = moved_.find(page.place()); moved != moved_.end()) return moved->second;
  const Segment* segment = parent_->segments->find(page.segment);
  std::vector<std::byte> bytes(kPageBytes);
  if (segment == nullptr || page.unit >= segment->page_count()) {
    throw damaged(parent_->segment->path(),
                  fmt::format("a page lies outside the segment of version {}", page.segment));
  }
  parent_->segments->read_pages(*segment, page.unit, bytes);
  if (digest_of(bytes) != page.digest) {
    throw damaged(segment->path(), fmt::format("its page {} does not match its digest", page.unit));
  }
  ++pages_moved_;
  return moved_[page.place()] = append_page(bytes, page.digest);
}

void SegmentWriter::complete_spaces() {
  // Every space of the parent takes part: kept as it is, or released.
  if (parent_) {
    for (const SpaceRoot& root : parent_->manifest.spaces) space(root.id);
  }
  evacuation_.grant(pages_->page_count());
  if (!evacuation_.active()) return;
  for (auto& [id, changed] : spaces_) evacuate_pages(changed);
}

Manifest SegmentWriter::build_manifest(const VersionDescription& description) {
  Manifest manifest{.description = description, .segments = {}, .spaces = {}};
  UseCounts uses = parent_ ? UseCounts(parent_->manifest.segments) : UseCounts();
  auto own = static_cast<std::uint32_t>(version_);
  TreeBuilder builder(parent_tree_.get(), own, evacuation_, uses, *memory_->nodes, spill_,
                      [this](std::span<const std::byte> node) {
                        std::uint64_t unit = (output_->position() - nodes_begin_) / kNodeUnit;
                        output_->append(node);
                        return checked_unit(unit);
                      });
  if (is_read_back_) builder.keep_changes();
  for (auto& [id, changed] : spaces_) {
    auto root = builder.build(changed.parent(), changed.base(), changed.changes());
    if (root) manifest.spaces.push_back(*root);
  }
  manifest.segments = uses.referenced();
  if (manifest.segments.empty() || manifest.segments.back().segment != own)
    manifest.segments.push_back({.segment = own});
  return manifest;
}

void SegmentWriter::write_tail(const Manifest& manifest, std::span<const std::byte> image, Footer& footer) {
  std::vector<std::byte> encoded = encode_manifest(manifest);
  if (encoded.size() > kMaxManifestBytes || image.size() > kMaxImageBytes) {
    throw Error("the process image is too large for a checkpoint; report this as a defect", EFBIG);
  }
  output_->append(encoded);
  output_->pad_to(kNodeUnit);
  output_->append(image);
  footer.version = version_;
  footer.manifest_bytes = encoded.size();
  footer.image_bytes = image.size();
  footer.manifest_digest = digest_of(encoded);
  footer.image_digest = digest_of(image);
  footer.file_bytes = align_up(output_->position() + sizeof footer, kPageBytes);
  auto bytes = std::as_bytes(std::span(&footer, 1));
  footer.footer_digest = digest_of(bytes.first(offsetof(Footer, footer_digest)));
  // The footer ends with the file: zeroes up to it.
  static constexpr std::array<std::byte, kPageBytes> kZeroes{};
  output_->append(std::span(kZeroes).first(footer.file_bytes - sizeof footer - output_->position()));
  output_->append(bytes);
}

void SegmentWriter::remember(const Footer& footer, Manifest manifest) {
  memory_->last.reset();
  auto own = files_->open_published(footer);
  if (!own) return;
  std::vector<std::shared_ptr<const Segment>> segments;
  segments.reserve(manifest.segments.size());
  for (const SegmentUse& use : manifest.segments) {
    segments.push_back(use.segment == version_ ? own : parent_->segments->find_shared(use.segment));
  }
  memory_->last = OpenVersion{.segment = std::move(own),
                              .manifest = std::move(manifest),
                              .segments = std::make_shared<const SegmentSet>(std::move(segments))};
}

void SegmentWriter::fill(VersionDescription& description) const {
  description.version = version_;
  description.parent = parent_ ? parent_->manifest.description.version : 0;
  description.stats.pages_skipped_parent = pages_skipped_;
  description.stats.pages_written = pages_->page_count() - pages_moved_;
}

void SegmentWriter::publish(VersionDescription& description, std::span<const std::byte> image) {
  complete_spaces();
  fill(description);
  Footer footer;
  pages_->finish(footer);
  nodes_begin_ = output_->position();
  Manifest manifest = build_manifest(description);
  footer.node_bytes = output_->position() - nodes_begin_;
  write_tail(manifest, image, footer);
  description.stats.bytes_written = output_->position();
  output_->publish(visible_name(version_));
  manifest.description.stats.bytes_written = description.stats.bytes_written;
  remember(footer, std::move(manifest));
}

Version SegmentWriter::commit(VersionDescription& description, std::span<const std::byte> image) {
  check_alive();
  dying_on_error([&] { publish(description, image); });
  end();
  return version_;
}

}  // namespace ckpt::store
