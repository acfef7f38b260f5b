// Open descriptors of a program: saving them from outside, and building them again in the process that
// becomes it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/lock_policy.h"
#include "engine/resource/program_calls.h"
#include "engine/resource/side_by_side.h"
#include "engine/resource/socket/tcp_repair.h"
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

struct KeptElsewhere;  // kept_elsewhere.h

struct SaveContext {
  pid_t pid;                        // the stopped process
  store::CheckpointWriter& writer;  // for content of objects
  ObjectTable& objects;
  std::vector<std::string>& notes;
  std::vector<UniqueFd>& files_to_sync;
  ProgramCalls* calls = nullptr;  // of the process
  // The file of the library or program that opened a descriptor, by its number and what /proc/PID/fd says of
  // it; empty if that is not known.
  std::function<std::string(int, const std::string&)> opener = nullptr;
  // Receives the connections with the outside that are going to go on elsewhere, if set.
  std::vector<resource::SilencedConnection>* silenced = nullptr;
  const KeptElsewhere* kept = nullptr;  // by a library of the process
};

// What the processes of a checkpoint have open. All of them are stopped and traced by the caller, whose own
// descriptors 0, 1 and 2 are what "inherited" means. A description that several share is saved once, with its
// first holder. Errors name the descriptor, what it is, and what to do, for anything that cannot be restored.
class DescriptorCapture {
 public:
  // The first is the program that was started; save() is called for all of them, in this order.
  DescriptorCapture(std::span<const pid_t> pids, const SideBySide& side_by_side);
  ~DescriptorCapture();
  DescriptorCapture(const DescriptorCapture&) = delete;
  DescriptorCapture& operator=(const DescriptorCapture&) = delete;

  // Fills process.descriptors; process.pid is set.
  void save(SaveContext& context, image::ProcessT& process);
  // At the end: fills `descriptions` of the first process, to which those of all refer.
  void finish(SaveContext& context, image::ProcessT& first);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The same for a single process.
void save_descriptors(SaveContext& context, image::ProcessT& process);

// Index in Checkpoint.objects of the unlinked file or memfd that `fd` refers to; its content, name, mode and
// seals are saved if nobody did so before. `fd` may be any readable descriptor of it; its offset stays.
// `name` is the former path or the memfd name.
std::int32_t save_object(SaveContext& context, image::ObjectKind kind, int fd, const std::string& name);

// One process of a checkpoint.
struct ProcessView {
  // The program that was started.
  ProcessView(const image::CheckpointT& whole)  // NOLINT(google-explicit-constructor): most have no relatives
      : checkpoint(whole), program_id(whole.process->pid) {}
  ProcessView(const image::CheckpointT& part, std::int32_t program, std::set<std::size_t> held_before)
      : checkpoint(part), program_id(program), others_own(std::move(held_before)) {}

  // Whether this process is the first that holds it: by which it is restored.
  bool owns(std::size_t description) const { return !others_own.contains(description); }

  const image::CheckpointT&
      checkpoint;                    // with this process as its `process`, which has the descriptions of all
  std::int32_t program_id;           // saved, of the program that was started
  std::set<std::size_t> others_own;  // descriptions that a process before it in the checkpoint holds, too
};

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
void check_descriptors(const ProcessView& view, std::vector<std::string>* notes = nullptr,
                       std::vector<LostAddress>* lost = nullptr);

// What the sockets of the checkpoint need, but `lost_addresses`, which check_descriptors() finds.
SocketNeeds socket_needs(const image::CheckpointT& checkpoint);

// Of a program that has been saved.
OutsideHoldings outside_holdings(const image::CheckpointT& checkpoint);

// What will become of connections to the outside: lines for the user.
std::vector<std::string> connection_notes(const image::CheckpointT& checkpoint, const SocketPolicy& policy);

// For a program without relatives. Called in the process that will become it, single-threaded, before it
// executes the program file. Creates every descriptor at its number (none close-on-exec yet) and closes
// everything else except `keep`, object descriptors included unless they are in `keep`. ckptrun's own 0, 1, 2
// are at 0, 1, 2 when this is called. `scratch_base` is at least first_free_descriptor(); everything in
// `keep` and in `objects` is there or above. Raises the soft limit on open files to the hard one.
void restore_descriptors(const image::CheckpointT& checkpoint, const RestoreObjects& objects,
                         int scratch_base, std::span<const int> keep);

// The same for a program with relatives: each of them is a copy of the process that has made all
// descriptions.
class DescriptorRestore {
 public:
  // Makes every description of the checkpoint, above `scratch_base`.
  DescriptorRestore(const image::CheckpointT& checkpoint, const RestoreObjects& objects, int scratch_base);
  ~DescriptorRestore();
  DescriptorRestore(const DescriptorRestore&) = delete;
  DescriptorRestore& operator=(const DescriptorRestore&) = delete;

  // Where it has made them, by the index of the description: fills `numbers`, unless that is empty.
  void tell_numbers(std::span<std::int32_t> numbers) const;

  // In the leader of a session that has just begun: it takes the pseudo-terminal that is to be its
  // controlling one. Children get theirs only by being forked from one that has it.
  void take_controlling_pty(const image::ProcessT& leader) const;

  // In the process that is to become the one of `view`: every descriptor at its number, everything else
  // closed but `keep`. Once.
  void place(const ProcessView& view, std::span<const int> keep);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The last step for descriptors, called in the supervisor when `program`, the process of `view`, has its
// memory and threads and all descriptors that were only for building are closed. `notes` receives what
// differs but does no harm, `outcomes`, in addition to what it has, what became of locks.
void finish_descriptors(const ProcessView& view, ProgramCalls& program, LockPolicy locks,
                        std::vector<std::string>& notes, std::vector<FileLockOutcome>* outcomes = nullptr);

}  // namespace ckpt::engine
