// What the program has open, as the kernel tells it from outside: nothing here touches the program.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::engine::resource {

// One open file description and all descriptors that refer to it.
struct OpenDescription {
  struct Number {
    int number;
    bool close_on_exec;
  };

  std::vector<Number> numbers;  // ascending, never empty
  std::string link;             // target of /proc/PID/fd/N
  std::string info;             // /proc/PID/fdinfo/N
  struct stat status {};
  int flags = 0;  // as F_GETFL
  std::int64_t offset = 0;

  int number() const { return numbers.front().number; }
  int access_mode() const;   // O_RDONLY, O_WRONLY, O_RDWR; -1 for O_PATH
  std::string what() const;  // "descriptor 5 (/x/y)"
  std::string_view info_field(std::string_view key) const;
};

// All open descriptions of a process that we may trace, ordered by their lowest number.
std::vector<OpenDescription> list_descriptions(pid_t pid);

// One descriptor of such a process, as a description by itself.
OpenDescription inspect_descriptor(pid_t pid, int number);

// Whether descriptor `number` of `pid` and `own` of ours are the same description.
bool same_description(pid_t pid, int number, int own);

// The id that a process or thread has in its innermost namespace; 0 if it is gone.
pid_t innermost_id(pid_t id);

UniqueFd open_process(pid_t pid);  // a pidfd

// A descriptor of ours for the very description behind `number` of the process `pidfd`.
UniqueFd copy_descriptor(int pidfd, int number);

}  // namespace ckpt::engine::resource
