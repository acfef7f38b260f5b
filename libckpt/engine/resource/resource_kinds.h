// The table of kinds of kernel objects that descriptors may refer to. A further kind is one more file pair
// with a ResourceKind, its detail table in image.fbs, and one line in resource_kinds.cpp.
//
// Hard rules for `save` (the program is only stopped, and will run on):
//  1. Nothing is consumed and no offset moves: pread, tee, fdinfo; never read or lseek on the description
//  itself.
//  2. Content is read through a description of our own where one can be opened.
//  3. What cannot be restored is an Error now, not at restore.
// `restore` runs between fork and exec in a single-threaded process: plain C++, but nothing may be left open
// below the scratch base other than the descriptor that it returns. What execve or a missing thread would
// spoil waits for `finish`, with something else at its numbers until then.
#pragma once

#include <sys/stat.h>
#include <sys/statfs.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/open_description.h"
#include "engine/resource/program_calls.h"
#include "engine/resource/socket/in_flight.h"
#include "engine/resource/socket/options.h"

namespace ckpt::engine::resource {

// Of our own 0, 1 and 2; none for what is closed.
std::array<std::optional<struct stat>, 3> own_stream_statuses();

// Bytes of a TCP connection, since it was made.
struct TcpProgress {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
};

// What the processes of a checkpoint have open, all together, and what has been saved of it.
struct SavedTogether {
  pid_t program = 0;  // the first of the processes
  std::vector<pid_t> processes = {};
  std::vector<OpenDescription> all = {};
  SentDescriptors sent{all};
  std::set<std::pair<dev_t, ino_t>> pipes_saved = {};
  std::set<std::pair<dev_t, ino_t>> files_synced = {};
  std::map<std::uint64_t, TcpProgress> tcp_progress = {};  // by inode
};

// Everything that `save` may look at: of the process in `context`, and of all.
struct SaveState {
  SaveContext& context;
  pid_t program_pid;  // as the program sees it
  SavedTogether& together;
  const std::vector<OpenDescription>& all = together.all;
  SentDescriptors& sent = together.sent;
  std::set<std::tuple<dev_t, ino_t, std::uint64_t>> record_locks_saved = {};  // by their first byte
  std::array<std::optional<struct stat>, 3> own_streams = own_stream_statuses();
  SocketDefaults socket_defaults = {};
  mutable std::map<dev_t, decltype(statfs::f_type)> filesystems = {};  // by the device that stat() reports
  mutable std::map<ino_t, SocketSort> socket_sorts = {};

  // The type of the filesystem that the description is on (linux/magic.h).
  decltype(statfs::f_type) filesystem_of(const OpenDescription& description) const;
  // None if it is no socket, or is open for its name only (O_PATH).
  std::optional<SocketSort> socket_sort_of(const OpenDescription& description) const;
};

// A pipe being restored; `taken` ends already are descriptions of the program.
struct OwnPipe {
  UniqueFd read_end;
  UniqueFd write_end;
  bool read_taken = false;
  bool write_taken = false;
};

// Everything that `restore` may use.
struct RestoreState {
  const image::CheckpointT& checkpoint;
  const RestoreObjects& objects;
  int scratch_base;
  std::array<UniqueFd, 3> inherited = {};          // ckptrun's 0, 1, 2, or none where it is closed
  std::map<std::uint64_t, OwnPipe> pipes = {};     // by the inode they had
  std::map<std::uint64_t, UniqueFd> fifos = {};    // by the inode they had
  std::map<int, UniqueFd> ptys = {};               // masters of pseudo-terminals, by the number they had
  std::map<std::uint64_t, UniqueFd> queues = {};   // POSIX message queues, by the inode they had
  std::map<std::uint64_t, UniqueFd> sockets = {};  // by the inode they had; all of a family are made at once
  bool inet_sockets_made = false;
  bool unix_sockets_made = false;
  bool unix_sockets_finished = false;
  // Of Unix sockets (by inode) that come back without one, until what waits in them has been sent.
  std::map<std::uint64_t, UniqueFd> other_ends = {};
  std::map<std::uint64_t, UniqueFd> socket_files = {};  // of Unix sockets, by the inode that these had
  // A descriptor for each description (by index in Process.descriptions), once all are there.
  std::map<std::int32_t, int> description_numbers = {};
  std::vector<UniqueFd> unnumbered = {};  // of descriptions that have no descriptor in the program

  // Moves a descriptor that stays open for longer than one restore out of the way.
  UniqueFd lift(UniqueFd fd) const;
};

// Everything that `finish` may use.
struct FinishState {
  const image::CheckpointT& checkpoint;
  ProgramCalls& program;
  std::int32_t program_id;  // saved, of the program that was started; `program` may be one of its relatives
  LockPolicy locks;
  std::vector<std::string>& notes;
  std::vector<FileLockOutcome> file_locks = {};
};

struct CheckState {
  const image::CheckpointT& checkpoint;
  std::vector<std::string>* notes;
  std::vector<LostAddress> lost_addresses = {};
};

struct ResourceKind {
  std::string_view name;
  image::DescriptionDetail detail;
  // Status flags that are set again after restore, where they differ.
  int settable_flags;
  bool (*matches)(const SaveState&, const OpenDescription&);
  image::DescriptionDetailUnion (*save)(SaveState&, const OpenDescription&);
  // What makes restoring impossible, without the descriptor's number; empty if nothing.
  std::string (*check)(CheckState&, const image::DescriptionT&);
  UniqueFd (*restore)(RestoreState&, const image::DescriptionT&);
  // What needs all other descriptors at their numbers; may be null.
  void (*connect)(RestoreState&, const image::DescriptionT&, int number) = nullptr;
  // What needs the program's memory or its threads, or must not be seen by execve; may be null. Runs in the
  // supervisor. `numbers` are the descriptors of the description.
  void (*finish)(FinishState&, const image::DescriptionT&,
                 const std::vector<const image::DescriptorT*>& numbers) = nullptr;
  // `connect` refers to other descriptors by their numbers, which are those of the description's first
  // holder.
  bool connects_by_number = false;
};

// In the order of matching.
std::span<const ResourceKind* const> resource_kinds();
const ResourceKind& kind_of(const image::DescriptionT& description);

template <typename Detail>
image::DescriptionDetailUnion as_detail(Detail detail) {
  image::DescriptionDetailUnion united;
  united.Set(std::move(detail));
  return united;
}

}  // namespace ckpt::engine::resource
