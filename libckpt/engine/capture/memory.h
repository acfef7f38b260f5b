// Memory of a stopped process: describes every mapping in the image and finds out which pages a version
// needs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/capture/file_identity.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/page_needs.h"
#include "engine/capture/page_scan.h"
#include "engine/capture/page_tasks.h"
#include "engine/capture/path_statuses.h"
#include "engine/capture/write_tracker.h"
#include "engine/resource/kept_elsewhere.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Of the program's own pages; those of its relatives are in a space that follows from their id.
inline constexpr store::SpaceId kProcessSpace = 1;
inline constexpr store::SpaceId kFirstRelativeSpace = 1U << 30U;

struct CapturedMemory {
  PageTasks tasks;                      // pages to be copied
  std::vector<store::PageRun> present;  // all pages of the process space that have content
  CarriedMappings carried;              // among them
  AddressRanges quiet;                  // large private mappings without a page to copy
  std::uint64_t pages_scanned = 0;      // pages with content, looked at
  std::uint64_t resident_bytes = 0;
};

bool is_private_memory(const MapEntry& entry);

// How the content of a private mapping is told from what its file holds. Nothing for mappings that have no
// content of their own.
std::optional<PageFilter> private_content_filter(const MapEntry& entry, PathStatuses& paths);

// Tasks for pages of a private mapping, which go to `space`.
void add_private_tasks(const MapEntry& entry, const AddressRanges& pages, store::SpaceId space,
                       bool in_snapshot, PageTasks& tasks);

class MemoryCapture {
 public:
  // `threads`: for find_pages(); none if it runs in one of them.
  MemoryCapture(Tracee& tracee, const MapFlagsTable& flags, FileIdentities& identities, PathStatuses& paths,
                ObjectTable& objects, store::CheckpointWriter& writer, WriteTracker* tracker,
                const PageNeeds& needs, PauseThreads* threads, const AddressRanges& known_content);
  ~MemoryCapture();
  MemoryCapture(const MemoryCapture&) = delete;
  MemoryCapture& operator=(const MemoryCapture&) = delete;

  // `maps`: the process's, as it is stopped; they and `process` stay. What is `kept` elsewhere becomes a hole
  // that nobody else gets. Fills mappings, mapped_files and
  // executable_file of `process`, whose pages go to its `space`.
  void describe(const std::vector<MapEntry>& maps, const KeptElsewhere& kept, image::ProcessT& process);
  // Then, by any thread: which pages there are, and which are needed. Everything that is tracked is armed
  // anew, and what was written since is owed (WriteTracker).
  CapturedMemory find_pages();

 private:
  std::unique_ptr<image::MappingT> describe(const MapEntry& entry, image::ProcessT& process);
  void describe_private_file(const MapEntry& entry, image::ProcessT& process, image::MappingT& mapping);
  void describe_shared(const MapEntry& entry, image::ProcessT& process, image::MappingT& mapping);
  std::int32_t attached_segment(const MapEntry& entry);
  std::unique_ptr<image::MappedFileT> describe_executable(const std::string& path);
  void refuse_partial_segments(const image::ProcessT& process) const;
  std::int32_t mapped_file(const MapEntry& entry, image::ProcessT& process, bool written);
  void store_written_file(image::MappedFileT& file);
  std::int32_t shared_object(const MapEntry& entry);

  struct PrivateMapping {
    const MapEntry* entry;  // of all maps, which are in one vector
    image::MappingT* mapping;
  };
  static std::size_t count_together(std::span<const PrivateMapping> mappings);
  std::optional<std::vector<ScannedPages>> scan_together(std::span<const PrivateMapping> mappings);
  void plan_private_content(const MapEntry& entry, image::MappingT& mapping, ScannedPages pages);
  void take_whole(const MapEntry& entry, ScannedPages& pages);
  void plan_object_content(const MapEntry& entry, const image::SharedObjectT& object);
  ScannedPages scan(const MapEntry& entry, PageFilter filter);
  void count(AddressRange range);

  Tracee& tracee_;
  const MapFlagsTable& flags_;
  FileIdentities& identities_;
  PathStatuses& paths_;
  ObjectTable& objects_;
  store::CheckpointWriter& writer_;
  WriteTracker* tracker_;  // none: every page counts as written
  const PageNeeds& needs_;
  const AddressRanges& known_content_;  // of anonymous memory, as the last scan found it
  AddressRanges written_now_;
  std::vector<PrivateMapping> private_mappings_;
  PageScanner scanner_;
  store::SpaceId space_ = 0;
  std::vector<std::int32_t> objects_made_here_;  // objects whose content comes from mappings
  CapturedMemory result_;
};

}  // namespace ckpt::engine
