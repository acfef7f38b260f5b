// Open descriptors of a program: saving them from outside, and building them again in the process that
// becomes it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/lock_policy.h"
#include "engine/resource/program_calls.h"
#include "engine/resource/socket_policy.h"
#include "image_generated.h"
#include "store/checkpoint_store.h"

namespace ckpt::engine {

// Shared objects (memfd, unlinked files, shared memory) found so far, keyed by device and inode; memory
// mappings and descriptors add to the same table. Content is written once per object, by whoever finds it
// first.
class ObjectTable {
 public:
  // Index in Checkpoint.objects, or -1.
  std::int32_t find(std::uint64_t device, std::uint64_t inode) const;
  std::int32_t add(
      std::unique_ptr<image::SharedObjectT> object);  // gives it a fresh space id (in object->space)
  image::SharedObjectT& at(std::int32_t index) { return *objects_.at(static_cast<std::size_t>(index)); }
  const image::SharedObjectT& at(std::int32_t index) const {
    return *objects_.at(static_cast<std::size_t>(index));
  }
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
  ProgramCalls* calls = nullptr;  // of the program
};

// Fills process.descriptors and process.descriptions. The program is stopped and traced by the caller, whose
// own descriptors 0, 1 and 2 are what "inherited" means; process.pid is set. Throws Error naming the
// descriptor, what it is, and what to do, for anything that cannot be restored.
void save_descriptors(SaveContext& context, image::ProcessT& process);

// Index in Checkpoint.objects of the unlinked file or memfd that `fd` refers to; its content, name, mode and
// seals are saved if nobody did so before. `fd` may be any readable descriptor of it; its offset stays.
// `name` is the former path or the memfd name.
std::int32_t save_object(SaveContext& context, image::ObjectKind kind, int fd, const std::string& name);

// Descriptors beyond the program's own that the restoring process needs.
struct RestoreObjects {
  std::vector<int> object_descriptors;  // parallel to Checkpoint.objects: a read-write descriptor, or -1
  SocketPolicy sockets = {};
};

// Makes the memfds and unlinked files of the checkpoint and fills them. The result is parallel to
// Checkpoint.objects, its descriptors are close-on-exec and not below `scratch_base`; -1 for objects of other
// kinds. Mode and seals are still missing: they would be in the way of mapping and opening.
std::vector<int> create_objects(const image::CheckpointT& checkpoint, const store::CheckpointReader& reader,
                                int scratch_base);

// The last step for objects, after the program has its mappings of them: permission bits, then seals. Works
// in any process that still holds the descriptors of create_objects().
void seal_objects(const image::CheckpointT& checkpoint, std::span<const int> object_descriptors);

// The first number above every descriptor of the program (never below 3): the smallest scratch_base.
int first_free_descriptor(const image::ProcessT& process);

// Checks before anything is built: missing files, files shorter than their offset, descriptor numbers above
// the hard limit. Throws one Error naming them all. `notes` receives what will differ but does no harm.
// Addresses that cannot be bound are problems too, unless `lost` is there to receive them: it is then the
// caller who decides, and who says so in SocketPolicy.
void check_descriptors(const image::CheckpointT& checkpoint, std::vector<std::string>* notes = nullptr,
                       std::vector<LostAddress>* lost = nullptr);

// What the sockets of the checkpoint need, but `lost_addresses`, which check_descriptors() finds.
SocketNeeds socket_needs(const image::CheckpointT& checkpoint);

// What will become of connections to the outside: lines for the user.
std::vector<std::string> connection_notes(const image::CheckpointT& checkpoint, const SocketPolicy& policy);

// Called in the process that will become the program, single-threaded, before it executes the program file.
// Creates every descriptor at its number (none close-on-exec yet) and closes everything else except `keep`,
// object descriptors included unless they are in `keep`. ckptrun's own 0, 1, 2 are at 0, 1, 2 when this is
// called. `scratch_base` is at least first_free_descriptor(); everything in `keep` and in `objects` is there
// or above. Raises the soft limit on open files to the hard one.
void restore_descriptors(const image::CheckpointT& checkpoint, const RestoreObjects& objects,
                         int scratch_base, std::span<const int> keep);

// The last step for descriptors, called in the supervisor when `program` has its memory and threads and all
// descriptors that were only for building are closed. `notes` receives what differs but does no harm.
void finish_descriptors(const image::CheckpointT& checkpoint, ProgramCalls& program, LockPolicy locks,
                        std::vector<std::string>& notes, std::vector<FileLockOutcome>* outcomes = nullptr);

}  // namespace ckpt::engine
