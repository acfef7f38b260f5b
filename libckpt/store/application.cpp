#include "store/application.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "store/checkpoint_reader.h"
#include "store/checkpoint_writer.h"
#include "store/store_file.h"
#include "store/system_calls.h"
#include "store/verification.h"

namespace ckpt::store {

std::vector<ApplicationDirectory::Readable> ApplicationDirectory::read_all(
    std::vector<std::string>* damaged) const {
  std::vector<Readable> result;
  for (Version version : files_->list().visible) {
    try {
      auto segment = files_->open_visible(version);
      if (!segment) continue;  // removed by somebody else since it was listed
      result.push_back({.manifest = segment->read_manifest(), .segment_bytes = segment->file_bytes()});
    } catch (const Error& error) {
      if (damaged != nullptr) damaged->emplace_back(error.what());
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

std::unique_ptr<CheckpointReader> ApplicationDirectory::open(Version version) const {
  return std::make_unique<SegmentReader>(files_->open_version(version));
}

VerifyReport ApplicationDirectory::verify(const std::vector<Version>& versions) const {
  return verify_versions(*files_, versions.empty() ? files_->list().visible : versions);
}

void ApplicationDirectory::remove_leftovers() {
  if (auto lock = files_->lock(ApplicationFiles::Lock::kWriter)) {
    for (const std::string& name : files_->list().temporary) files_->unlink(name);
  }
  remove_unreferenced();
}

std::unique_ptr<CheckpointWriter> ApplicationDirectory::begin(Version parent, Base base,
                                                              const WriteOptions& options) {
  if (!memory_) memory_ = std::make_shared<WriterMemory>();
  return std::make_unique<SegmentWriter>(files_, memory_, parent, base, options);
}

void ApplicationDirectory::remove(Version version) {
  if (!std::ranges::binary_search(files_->list().visible, version)) {
    throw Error(fmt::format("application '{}' has no version {} in {}; ckpt list shows what there is", name(),
                            version, path()),
                ENOENT);
  }
  hide(version);
  remove_unreferenced();
}

std::vector<Version> ApplicationDirectory::retain(std::size_t keep, const std::string& current_run_id) {
  std::vector<Version> removed;
  std::set<std::string> runs_kept;
  std::size_t newer = 0;
  std::vector<Readable> versions = read_all(nullptr);
  for (auto it = versions.rbegin(); it != versions.rend(); ++it, ++newer) {
    const VersionDescription& description = it->manifest.description;
    bool last_of_run = runs_kept.insert(description.run_id).second;
    bool earlier_run = description.run_id != current_run_id;
    if (newer < keep || (last_of_run && earlier_run)) continue;
    hide(description.version);
    removed.push_back(description.version);
  }
  remove_unreferenced();
  std::ranges::sort(removed);
  return removed;
}

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
