#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// The memory of a process as a version holds it, by address. What the version leaves to mapped files is read
// from those, if they are still what they were. What it is given outlives it. Not thread-safe.
class ProgramMemory {
 public:
  ProgramMemory(const store::CheckpointReader& reader, const image::CheckpointT& checkpoint,
                const image::ProcessT& process);

  // False if not all of it is mapped, or known. Throws Error if the version is damaged.
  bool read(std::uint64_t address, std::span<std::byte> out);
  // The mapping at this address; nullptr: none.
  const image::MappingT* mapping_at(std::uint64_t address) const;
  // Where the content of mapped file number `file` is; empty if it is gone or has changed.
  const std::string& path_of(std::int32_t file);

 private:
  using Page = std::array<std::byte, store::kPageBytes>;

  const Page* page_at(std::uint64_t address);
  bool load(std::uint64_t address, Page& page);
  bool load_from_file(const image::MappingT& mapping, std::uint64_t offset, Page& page);

  const store::CheckpointReader& reader_;
  const image::CheckpointT& checkpoint_;
  const image::ProcessT& process_;
  std::map<std::uint64_t, Page> pages_;        // by address
  std::map<std::int32_t, std::string> sound_;  // paths of files that were looked at
};

}  // namespace ckpt::engine
