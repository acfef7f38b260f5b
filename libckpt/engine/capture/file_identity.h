// How a mapped file is recognised again: by build-id where it is an ELF file that has one, else by size and
// time of last modification.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "engine/capture/path_statuses.h"
#include "image_generated.h"

namespace ckpt::engine {

// Remembers build-ids by device, inode, size and time, because reading one costs more than everything else
// about a mapped file. Keep one per program.
class FileIdentities {
 public:
  // Describes the file that `path` names now. Throws Error if it cannot be examined.
  std::unique_ptr<image::MappedFileT> describe(const std::string& path, const PathStatus& now);
  std::unique_ptr<image::MappedFileT> describe(const std::string& path);

 private:
  using Key = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t, std::int64_t>;
  std::map<Key, std::vector<std::uint8_t>> build_ids_;
};

// st_mtim in nanoseconds.
std::int64_t modification_time_ns(const struct stat& status);

// Whether all pages of private mappings of this file are stored, unchanged ones too. So it is with the
// agent's own library: an update of it must not make checkpoints unusable.
bool is_carried_whole(const std::string& path);

// Throws Error naming the file and what changed if `path` is no longer the file described.
void check_identity(const image::MappedFileT& file);

}  // namespace ckpt::engine
