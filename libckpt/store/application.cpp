#include "store/application.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "store/checkpoint_reader.h"
#include "store/checkpoint_writer.h"
#include "store/manifest_reading.h"
#include "store/reclaim.h"
#include "store/retention.h"
#include "store/sharing.h"
#include "store/store_file.h"
#include "store/system_calls.h"
#include "store/verification.h"

namespace ckpt::store {

std::vector<ApplicationDirectory::Readable> ApplicationDirectory::read_all(
    std::vector<std::string>* damaged) const {
  std::vector<Readable> result;
  for (ReadManifest& one : read_manifests(*files_, files_->list().visible)) {
    if (one.manifest) {
      result.push_back({.manifest = std::move(*one.manifest), .segment_bytes = one.segment_bytes});
    } else if (damaged != nullptr) {
      damaged->push_back(std::move(one.damage));
    }
  }
  return result;
}

std::vector<VersionEntry> ApplicationDirectory::versions() const {
  std::vector<VersionEntry> entries;
  for (Readable& version : read_all(nullptr)) {
    entries.push_back(
        {.description = std::move(version.manifest.description), .segment_bytes = version.segment_bytes});
  }
  return entries;
}

std::vector<std::string> ApplicationDirectory::damaged() const {
  std::vector<std::string> lines;
  read_all(&lines);
  return lines;
}

std::unique_ptr<CheckpointReader> ApplicationDirectory::open(Version version,
                                                             std::shared_ptr<TableCache> tables) const {
  // What this process has just written itself need not be read for whoever goes on with it.
  bool known = tables && memory_ && memory_->last && memory_->last->segment->version() == version &&
               files_->is_visible(*memory_->last->segment);
  return std::make_unique<SegmentReader>(known ? *memory_->last : files_->open_version(version),
                                         known ? memory_->nodes : nullptr, std::move(tables));
}

VerifyReport ApplicationDirectory::verify(const std::vector<Version>& versions) const {
  return verify_versions(*files_, versions);
}

void ApplicationDirectory::remove_leftovers() {
  if (auto lock = files_->lock(ApplicationFiles::Lock::kWriter)) {
    for (const std::string& name : files_->list().temporary) files_->unlink(name);
  }
  remove_unreferenced();
}

std::unique_ptr<CheckpointWriter> ApplicationDirectory::begin(Version parent, Base base,
                                                              const WriteOptions& options) {
  if (!memory_) memory_ = std::make_shared<WriterMemory>(spares_memory_ ? small_memory() : WriterMemory());
  return std::make_unique<SegmentWriter>(files_, memory_, parent, base, options);
}

bool ApplicationDirectory::share(const Application& origin, Version version) {
  return share_version(files_of(origin), version, *files_);
}

Error ApplicationDirectory::unknown(Version version) const {
  return Error(fmt::format("application '{}' has no version {} in {}; ckpt list shows what there is", name(),
                           version, path()),
               ENOENT);
}

void ApplicationDirectory::remove(Version version) {
  auto lock = files_->lock(ApplicationFiles::Lock::kTags);
  ApplicationListing listing = files_->list();
  if (!std::ranges::binary_search(listing.visible, version)) throw unknown(version);
  for (const Tag& tag : listing.tags) {
    if (tag.version != version) continue;
    throw Error(fmt::format("version {} of '{}' is tagged {}; untag it first: ckpt untag {} {}", version,
                            name(), tag.label, name(), tag.label),
                EBUSY);
  }
  hide(version);
  remove_unreferenced();
}

std::vector<Version> ApplicationDirectory::retain(const Retention& retention,
                                                  const std::string& current_run_id) {
  auto lock = files_->lock(ApplicationFiles::Lock::kTags);
  std::set<Version> tagged;
  for (const Tag& tag : files_->list().tags) tagged.insert(tag.version);
  std::vector<VersionDescription> versions;
  for (Readable& version : read_all(nullptr)) versions.push_back(std::move(version.manifest.description));
  std::vector<Version> gone = superseded(versions, tagged, retention, current_run_id);
  for (Version version : gone) hide(version);
  remove_unreferenced();
  return gone;
}

// Of a version that is gone, a tag says nothing.
std::vector<Tag> ApplicationDirectory::tags_of(const ApplicationListing& listing) const {
  std::vector<Tag> tags;
  std::ranges::copy_if(listing.tags, std::back_inserter(tags), [&](const Tag& tag) {
    return std::ranges::binary_search(listing.visible, tag.version);
  });
  return tags;
}

std::vector<Tag> ApplicationDirectory::tags() const { return tags_of(files_->list()); }

void ApplicationDirectory::tag(Version version, const std::string& label) {
  Store::check_name(label);
  if (std::ranges::all_of(label, [](char c) { return c >= '0' && c <= '9'; }))
    throw Error(fmt::format("'{}' would be taken for a version; give a label that is no number", label),
                EINVAL);
  auto lock = files_->lock(ApplicationFiles::Lock::kTags);
  ApplicationListing listing = files_->list();
  if (!std::ranges::binary_search(listing.visible, version)) throw unknown(version);
  for (const Tag& tag : tags_of(listing)) {
    if (tag.label != label) continue;
    if (tag.version == version) return;
    throw Error(fmt::format("{} is the label of version {} of '{}'; untag that first: ckpt untag {} {}",
                            label, tag.version, name(), name(), label),
                EEXIST);
  }
  std::string file = tag_name({.version = version, .label = label});
  UniqueFd fd(open_in(directory(), file, O_WRONLY | O_CREAT, 0600));
  if (!fd) throw write_error(fmt::format("create {}", files_->path_of(file)), errno);
  files_->sync();
}

void ApplicationDirectory::untag(const std::string& label) {
  auto lock = files_->lock(ApplicationFiles::Lock::kTags);
  bool found = false;
  for (const Tag& tag : files_->list().tags) {
    if (tag.label != label) continue;
    files_->unlink(tag_name(tag));
    found = true;
  }
  if (!found) {
    throw Error(
        fmt::format("no version of '{}' is tagged {}; ckpt show {} lists the tags", name(), label, name()),
        ENOENT);
  }
  files_->sync();
}

Reclaimed ApplicationDirectory::reclaim() { return store::reclaim(*files_); }

void ApplicationDirectory::hide(Version version) {
  std::string from = visible_name(version);
  if (system_calls().renameat(directory(), from.c_str(), directory(), dead_name(version).c_str()) != 0) {
    throw write_error(fmt::format("rename {} to {}", files_->path_of(from), dead_name(version)), errno);
  }
  // A known segment holds the space of its file.
  if (memory_ && memory_->last && memory_->last->segment->version() == version) memory_->last.reset();
  files_->sync();
}

void ApplicationDirectory::remove_unreferenced() {
  // Taken: a writer relies on the dead segments of its parent. The next removal or retention gets them.
  auto lock = files_->lock(ApplicationFiles::Lock::kRemoveDead);
  if (!lock) return;
  ApplicationListing listing = files_->list();
  std::vector<Version> garbage = files_->unreferenced(listing.dead);
  if (garbage.empty()) return;
  Version highest = listing.highest();
  if (garbage.back() == highest) {
    UniqueFd mark(open_in(directory(), used_name(highest), O_WRONLY | O_CREAT, 0600));
    if (!mark) throw write_error(fmt::format("create {}", files_->path_of(used_name(highest))), errno);
    files_->sync();
  }
  for (Version version : garbage) files_->unlink(dead_name(version));
  for (Version used : listing.used) {
    if (used != highest) files_->unlink(used_name(used));
  }
}

}  // namespace ckpt::store
