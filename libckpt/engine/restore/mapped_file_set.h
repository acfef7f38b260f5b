// The files that the program's mappings refer to, opened in the supervisor and inherited by the new process.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Mappings of files that are stored whole, and have changed or gone, become memory without a file.
void detach_carried_files(image::ProcessT& process);

// Refuses, naming them, files that are missing or are no longer what the program had mapped. Shared writable
// files that are gone but were stored with the checkpoint are not refused: bring_files_back() makes them
// again.
void check_mapped_files(const image::ProcessT& process);

// Makes them, and their directory if that is gone too, with the content and permissions that they had. Those
// that are nothing but memory with a name (shm_open(3), sem_open(3)) get their content back also if they are
// there, unless the program is a copy beside others that use them.
void bring_files_back(const image::ProcessT& process, const store::CheckpointReader& reader, bool is_copy);

class MappedFileSet {
 public:
  // Opens every file at a descriptor >= `scratch_base`, close-on-exec. Those that bring_files_back() has made
  // are made again if they have gone meanwhile.
  MappedFileSet(const image::ProcessT& process, int scratch_base,
                const store::CheckpointReader* reader = nullptr);

  int descriptor(std::int32_t file) const { return files_.at(static_cast<std::size_t>(file)).get(); }
  std::vector<int> descriptors() const;

 private:
  std::vector<UniqueFd> files_;
};

}  // namespace ckpt::engine
