// Open descriptors of a program: saving them from outside, and building them again in the process that becomes it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Shared objects (memfd, unlinked files, shared memory) found so far, keyed by device and inode; memory mappings and
// descriptors add to the same table. Content is written once per object, by whoever finds it first.
class ObjectTable {
 public:
  // Index in Checkpoint.objects, or -1.
  std::int32_t find(std::uint64_t device, std::uint64_t inode) const;
  std::int32_t add(std::unique_ptr<image::SharedObjectT> object);  // gives it a fresh space id (in object->space)
  std::vector<std::unique_ptr<image::SharedObjectT>> take() { return std::move(objects_); }
  store::SpaceId fresh_space() { return next_space_++; }

 private:
  std::vector<std::unique_ptr<image::SharedObjectT>> objects_;
  store::SpaceId next_space_ = 2;  // 1 is the process
};

struct SaveContext {
  pid_t pid;                        // the stopped program
  store::CheckpointWriter& writer;  // for content of objects
  ObjectTable& objects;
  std::vector<std::string>& notes;
  std::vector<UniqueFd>& files_to_sync;
};

// Fills process.descriptors and process.descriptions. The program is stopped. Throws Error naming the descriptor, what
// it is, and what to do, for anything that cannot be restored.
void save_descriptors(SaveContext& context, image::ProcessT& process);

// What the restoring process needs beyond the descriptors themselves.
struct RestoreObjects {
  std::vector<int> object_descriptors;  // parallel to Checkpoint.objects: a read-write descriptor, or -1
};

// Checks before anything is built: missing files, files shorter than their offset, descriptor numbers above the hard
// limit. Throws Error naming them.
void check_descriptors(const image::CheckpointT& checkpoint);

// Called in the process that will become the program, single-threaded, before it executes the program file. Creates
// every descriptor at its number (none close-on-exec yet) and closes everything else except `keep` and what inherited
// details refer to. ckptrun's own 0, 1, 2 are at 0, 1, 2 when this is called. `scratch_base` is the first descriptor
// number that no descriptor of the program uses; temporary descriptors go there or above.
void restore_descriptors(const image::CheckpointT& checkpoint, const store::CheckpointReader& reader,
                         const RestoreObjects& objects, int scratch_base, std::span<const int> keep);

}  // namespace ckpt::engine
