#pragma once

#include "engine/resource/program_calls.h"
#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// A stopped program whose main thread makes calls, with the scratch area as their memory.
class TraceeProgram : public ProgramCalls {
 public:
  explicit TraceeProgram(Tracee& tracee) : tracee_(tracee) {}

  pid_t pid() const override { return tracee_.pid(); }
  std::int32_t current_tid(std::int32_t saved) const override { return saved; }
  std::int32_t proc_tid(std::int32_t saved) const override { return saved; }
  std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments) override;
  RemoteAddr place(std::span<const std::byte> bytes) override;
  void fetch(RemoteAddr from, std::span<std::byte> out) override;

 private:
  Tracee& tracee_;
};

}  // namespace ckpt::engine
