// The files of one application directory that belong to the store, and the names they have:
//
//   v0000000007.ckpt   visible version 7
//   v0000000007.dead   version 7 was removed, but visible versions refer to pages or nodes in it
//   v0000000007.used   empty: version numbers up to 7 were used; no version ever gets a number twice
//   v0000000007.tag-L  empty: version 7 is tagged L, and so is not removed
//   .tmp-v0000000008   being written; stale if no writer holds the lock
//   .lock              empty; byte 0 is locked by the writer, byte 1 by whoever relies on dead segments to
//                      stay (shared: a writer; exclusive: the removal of dead segments), byte 2 by whoever
//                      tags versions, or removes what is not tagged
//
// Hard rules, which make every crash harmless:
//   1. A file changes its name only in the direction tmp -> ckpt -> dead, and is then unlinked.
//   2. A dead segment is unlinked only under the exclusive lock, and only if every visible version could be
//   read and
//      none lists it.
//   3. Before the segment with the highest number is unlinked, a .used file with that number is durable.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "store/checkpoint_store.h"
#include "store/segment.h"

namespace ckpt::store {

std::string visible_name(Version version);
std::string dead_name(Version version);
std::string used_name(Version version);
std::string tag_name(const Tag& tag);
std::string temporary_name(Version version);

struct ApplicationListing {
  std::vector<Version> visible;  // ascending
  std::vector<Version> dead;     // ascending
  std::vector<Version> used;     // ascending
  std::vector<Tag> tags;         // by version, then by label
  std::vector<std::string> temporary;

  Version highest() const;  // 0 if no number was ever used
};

// A version with everything that is needed to read its pages.
struct OpenVersion {
  std::shared_ptr<const Segment> segment;
  Manifest manifest;
  std::shared_ptr<const SegmentSet> segments;
};

// Shared by an application and its readers and writers.
class ApplicationFiles {
 public:
  ApplicationFiles(UniqueFd directory, std::string path, std::string name);

  int directory() const { return directory_.get(); }
  const std::string& path() const { return path_; }
  const std::string& name() const { return name_; }
  std::string path_of(const std::string& file) const { return path_ + '/' + file; }

  ApplicationListing list() const;
  // The segment of a visible version; nullptr if there is none. Throws if it is damaged.
  std::shared_ptr<const Segment> open_visible(Version version) const;
  // Throws if the version is unknown or any segment that it refers to is missing or damaged.
  OpenVersion open_version(Version version) const;

  // The segment of a version that this process has just published; nullptr if that cannot be opened, which is
  // no error: the version is durable.
  std::shared_ptr<const Segment> open_published(const Footer& footer) const noexcept;
  bool is_visible(const Segment& segment) const;

  enum class Lock { kWriter, kKeepDead, kRemoveDead, kTags };
  // The lock lasts as long as the descriptor. nullopt if it is taken; kKeepDead and kTags wait instead (those
  // who hold them are quick).
  std::optional<UniqueFd> lock(Lock kind) const;

  // Which of the dead segments no visible version lists; none if one of those cannot be read, since what it
  // refers to is then not known.
  std::vector<Version> unreferenced(const std::vector<Version>& dead) const;

  void unlink(const std::string& file) const;
  void sync() const;

 private:
  struct OpenFile {
    UniqueFd fd;
    std::string path;
    Version version = 0;
  };
  UniqueFd open_file(const std::string& file) const;  // none if there is none
  OpenFile open_needed(Version version) const;

  UniqueFd directory_;
  std::string path_;
  std::string name_;
};

// Those of an application that is open.
ApplicationFiles files_of(const Application& application);

}  // namespace ckpt::store
