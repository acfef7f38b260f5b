// Memory of a stopped program: describes every mapping in the image and writes the content to the store.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/capture/file_identity.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/page_scan.h"
#include "engine/resource/descriptors.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

inline constexpr store::SpaceId kProcessSpace = 1;

struct MemoryTotals {
  std::uint64_t pages_scanned = 0;  // pages with content, looked at
  std::uint64_t resident_bytes = 0;
};

class MemoryCapture {
 public:
  MemoryCapture(Tracee& tracee, const MapFlagsTable& flags, FileIdentities& identities, ObjectTable& objects,
                store::CheckpointWriter& writer);

  // Fills mappings, mapped_files, layout, executable_file and space of `process`.
  MemoryTotals run(image::ProcessT& process);

 private:
  std::unique_ptr<image::MappingT> describe(const MapEntry& entry, image::ProcessT& process);
  void describe_private_file(const MapEntry& entry, image::ProcessT& process, image::MappingT& mapping);
  void describe_shared(const MapEntry& entry, image::ProcessT& process, image::MappingT& mapping);
  std::int32_t mapped_file(const MapEntry& entry, image::ProcessT& process, bool written);
  void store_written_file(image::MappedFileT& file);
  std::int32_t shared_object(const MapEntry& entry);

  void write_content(const MapEntry& entry, image::MappingT& mapping);
  void write_private_content(const MapEntry& entry, image::MappingT& mapping);
  void write_object_content(const MapEntry& entry, const image::SharedObjectT& object);
  void write_range(const MapEntry& entry, store::SpaceId space, AddressRange range, std::uint64_t first_page);

  Tracee& tracee_;
  const MapFlagsTable& flags_;
  FileIdentities& identities_;
  ObjectTable& objects_;
  store::CheckpointWriter& writer_;
  PageScanner scanner_;
  UniqueFd mem_;
  std::vector<std::byte> buffer_;
  std::vector<std::int32_t> objects_made_here_;  // objects whose content comes from mappings
  MemoryTotals totals_;
};

}  // namespace ckpt::engine
