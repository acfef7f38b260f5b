// What the program has open, as the kernel tells it from outside: nothing here touches the program.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/side_by_side.h"

namespace ckpt::engine::resource {

// One open file description and all descriptors that refer to it, in whichever process.
struct OpenDescription {
  struct Number {
    int number;
    bool close_on_exec;
    pid_t holder;  // the process whose descriptor it is
    // Lines of its fdinfo: of the description, and record locks of `holder` on the file.
    std::string locks = {};
  };

  // Never empty; those of one process come together, ascending.
  std::vector<Number> numbers;
  std::string link;  // target of /proc/PID/fd/N
  std::string info;  // /proc/PID/fdinfo/N
  struct stat status {};
  int flags = 0;  // as F_GETFL
  // The kernel has left O_CLOEXEC in its flags (TIOCGPTPEER and mq_open do), and shows it for all of
  // `numbers`.
  bool shown_close_on_exec = false;
  std::int64_t offset = 0;

  // Of one of its holders: the first in the order that list_descriptions() was given.
  int number() const { return numbers.front().number; }
  pid_t holder() const { return numbers.front().holder; }
  // The lowest descriptor that `pid` has of it, -1 if it has none.
  int number_in(pid_t pid) const;
  int access_mode() const;   // O_RDONLY, O_WRONLY, O_RDWR; -1 for O_PATH
  std::string what() const;  // "descriptor 5 (/x/y)"
  std::string_view info_field(std::string_view key) const;
};

// All open descriptions of processes that we may trace, ordered by their first holder and lowest number
// there.
std::vector<OpenDescription> list_descriptions(std::span<const pid_t> pids, const SideBySide& side_by_side);

// One descriptor of such a process, as a description by itself.
OpenDescription inspect_descriptor(pid_t pid, int number);

// Whether descriptor `number` of `pid` and `own` of ours are the same description.
bool same_description(pid_t pid, int number, int own);

// The id that a process or thread, its group (NSpgid) or its session (NSsid) has in its innermost namespace;
// 0 if it is gone.
pid_t innermost_id(pid_t id, std::string_view kind = "NSpid");

// A descriptor of ours for the very description.
UniqueFd copy_descriptor(const OpenDescription& description);

}  // namespace ckpt::engine::resource
