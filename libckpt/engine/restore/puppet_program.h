#pragma once

#include "engine/process/id_map.h"
#include "engine/resource/program_calls.h"
#include "engine/restore/puppet.h"

namespace ckpt::engine {

// A puppet whose main thread makes calls, with `room` in its work area as their memory.
class PuppetProgram : public ProgramCalls {
 public:
  PuppetProgram(Puppet& puppet, RemoteAddr room, const image::ProcessT& process, const IdMap& ids)
      : puppet_(puppet), room_(room), process_(process), ids_(ids) {}

  pid_t pid() const override { return puppet_.pid(); }
  std::int32_t current_tid(std::int32_t saved) const override { return current_id(ids_, saved); }
  std::int32_t proc_tid(std::int32_t saved) const override;
  std::int64_t call(long number, std::initializer_list<std::uint64_t> arguments) override;
  RemoteAddr place(std::span<const std::byte> bytes) override;
  void fetch(RemoteAddr from, std::span<std::byte> out) override;

 private:
  Puppet& puppet_;
  RemoteAddr room_;
  const image::ProcessT& process_;
  const IdMap& ids_;
};

}  // namespace ckpt::engine
