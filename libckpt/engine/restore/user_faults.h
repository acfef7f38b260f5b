// A userfaultfd of another process, held by us: its page faults wait for us, and we hear what it does to its
// memory (userfaultfd(2), ioctl_userfaultfd(2)).
//
// Hard rules for whoever serves it:
//  1. What the program does to its memory (an Event) is waited for by the program until it is read; between
//  the reading and the next installation of a page, the event must have been applied to what is missing.
//  2. Closing it makes what is missing read as zeroes: only when nothing is, or when nobody is left to read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::engine {

struct UserFault {
  std::uint64_t page;
  bool write;
};

// What the program has done, in page numbers.
struct UserFaultEvent {
  enum class Kind { kRemoved, kMoved, kForked } kind;
  std::uint64_t page = 0;
  std::uint64_t page_count = 0;
  std::uint64_t to = 0;  // kMoved
  UniqueFd child;        // kForked: the userfaultfd of the child
};

struct UserFaultMessages {
  std::vector<UserFault> faults;
  std::vector<UserFaultEvent> events;  // in order
};

enum class Installing {
  kDone,
  kPresent,   // the first page that was not installed is there already
  kChanging,  // the program changes its memory: read its events, then try again
  kNoRange,   // not, or not as a whole, in one mapping that is watched
  kGone,      // the process has no memory any more
};

struct Installed {
  Installing outcome;
  std::uint64_t page_count;  // installed, from the first one on
};

// What a userfaultfd is for.
enum class Watching {
  kNothing,         // to install pages while the process stands still
  kFaults,          // its faults on missing pages, and what it does to its memory
  kFaultsAndWrites  // and which pages it has written (WriteTracker)
};

class UserFaults {
 public:
  explicit UserFaults(UniqueFd fd) : fd_(std::move(fd)) {}

  // Throws Error: EPERM if events are not permitted to us.
  void start(Watching watching);
  // Whole mappings of anonymous memory. False if the kernel refuses this one.
  bool watch(std::uint64_t start, std::uint64_t end) const;

  // Of a child that the process has forked (kForked).
  UserFaults of_child(UniqueFd child) const;

  // Without waiting.
  UserFaultMessages read() const;
  // Puts pages where none are and wakes who waits for them. `unwritten`: they count as not written since they
  // were armed, where writes are watched. Throws Error if the machine has no memory left.
  Installed install(std::uint64_t page, std::span<const std::byte> bytes, bool unwritten = false) const;
  Installed install_zeroes(std::uint64_t page, std::uint64_t page_count) const;
  // Lets threads that wait for these pages look again.
  void wake(std::uint64_t page, std::uint64_t page_count) const;

  int fd() const { return fd_.get(); }
  bool watches_writes() const { return watches_writes_; }

 private:
  UniqueFd fd_;
  bool watches_writes_ = false;
};

}  // namespace ckpt::engine
