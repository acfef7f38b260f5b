// System calls made by a program that stands still, for what only it can ask or do: one that is being saved,
// or one being restored when its memory, its descriptors and its threads are there and none has run yet.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "base/remote_addr.h"

namespace ckpt::engine {

class ProgramCalls {
 public:
  ProgramCalls() = default;
  virtual ~ProgramCalls() = default;
  ProgramCalls(const ProgramCalls&) = delete;
  ProgramCalls& operator=(const ProgramCalls&) = delete;

  // The process as we see it.
  virtual pid_t pid() const = 0;
  // What a thread, a process or a process group has as its id now, in the pid namespace of the program;
  // `saved` is the id in the checkpoint.
  virtual std::int32_t current_tid(std::int32_t saved) const = 0;
  // The same as files of /proc name it, which belong to our own pid namespace.
  virtual std::int32_t proc_tid(std::int32_t saved) const = 0;
  // One system call of the main thread; the kernel's value, negative errno on failure.
  virtual std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments) = 0;
  // Where it finds `bytes` (at most 64 KiB), until the next place().
  virtual RemoteAddr place(std::span<const std::byte> bytes) = 0;
  // What calls left at an address that place() returned.
  virtual void fetch(RemoteAddr from, std::span<std::byte> out) = 0;
};

}  // namespace ckpt::engine
