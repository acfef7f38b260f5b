// What happens in the new processes before they execute their programs (those that are forked later by others
// are none of its business, fork_again.h): the first one, a copy of ckptrun,
// makes all descriptions and then its children, which make theirs, until every process of the checkpoint is
// there with its id, parent, session and process group; then each puts its descriptors to their numbers,
// waits for the word of the supervisor, and executes its program file.
//
// Hard rules:
//  1. A child inherits session and group from its maker. Hence a leader of a session makes the children that
//     are in its former session, starts its own, and makes the others; and groups are joined when all
//     processes exist: first their leaders, then the others.
//  2. Processes whose parent is gone are made by one that ends at once, so that they fall to whoever adopts
//     orphans. If the leader of their session is gone too, that one has its id.
//  3. A group whose leader is gone gets one for as long as others join it.
//  4. Whoever fails says why in the report, and all others end. Whoever is left without a supervisor ends.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/process/id_map.h"
#include "engine/restore/new_process.h"

namespace ckpt::engine {

// How builders and supervisor talk. Made by the supervisor, before there is any builder.
class BuilderLink {
 public:
  // All descriptors are at `request.scratch_base` or above.
  explicit BuilderLink(const NewProcessRequest& request);
  ~BuilderLink();
  BuilderLink(const BuilderLink&) = delete;
  BuilderLink& operator=(const BuilderLink&) = delete;

  // In the supervisor, when the first builder exists: only builders have those ends from now on.
  void leave_to_builders() { report_writing_.reset(); }
  // Waits until `count` processes are ready to execute their programs. Throws Error with what they report.
  void await_ready(std::size_t count, pid_t first);
  void let_go(std::size_t count);
  // What was reported since; its text is empty if nothing was.
  Error failure();
  // Of processes, groups and sessions, when all are ready.
  IdMap ids() const;

  // In a builder.
  void become_builder() { go_writing_.reset(); }
  int report() const { return report_writing_.get(); }
  int go() const { return go_reading_.get(); }
  // Until `count` have come here, to the stage with this number (0 to 4). Ends the process if one of them
  // cannot come.
  void meet(unsigned stage, std::uint32_t count);
  // This process has the id that was `saved`.
  void stand_for(std::int32_t saved);
  std::int32_t current(std::int32_t saved) const;
  void ready();
  void await_go();
  [[noreturn]] void fail(const std::string& why, int code = 0);

 private:
  struct Board;
  std::size_t board_bytes() const;
  std::size_t place_of(std::int32_t saved) const;

  std::vector<std::int32_t> saved_ids_;  // sorted
  UniqueFd go_reading_, go_writing_, report_reading_, report_writing_;
  Board* board_;
};

// Does not return. In a process that spawn() has made.
[[noreturn]] void build_family(const NewProcessRequest& request, bool old_ids, BuilderLink& link);

}  // namespace ckpt::engine
