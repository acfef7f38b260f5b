// The library in a program that keeps memory elsewhere (ckpt/keeper.h), from outside.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "base/error.h"
#include "ckpt/keeper.h"
#include "engine/agent_tables.h"
#include "engine/resource/kept_elsewhere.h"

namespace ckpt::engine {

// It could not settle while all others stood still; another attempt may succeed.
struct NotSettled : Error {
  using Error::Error;
};

class Keeper {
 public:
  // None if the program has no such library.
  static std::optional<Keeper> of(pid_t pid, const AgentTables& tables);

  // While the program runs, before a stop: its threads will not wait for each other. Throw Error.
  void keep_off() const;
  void get_ready() const;  // for a checkpoint
  // In a stop of all threads but threads(). Throws NotSettled.
  void settle() const;
  // In a stop, or when there was none; does not wait.
  void go_on() const noexcept;

  // Of the library and the agent, ids as we see them.
  std::vector<pid_t> threads() const;
  // After get_ready().
  KeptElsewhere kept() const;

  // In a process that was restored, and has been told, with its thread (KeptElsewhere::thread) let go:
  // expect() before that. Throw Error if it fails.
  void expect() const;
  void await_stand_in() const;  // then all other threads may go
  void await_return() const;

 private:
  Keeper(pid_t pid, const AgentTables& tables, AgentTable table, RemoteAddr address)
      : pid_(pid), tables_(tables), table_(table), address_(address) {}
  std::int32_t kernel_id(std::int32_t seen) const;
  ckpt_keeper read() const;
  std::uint32_t command(std::uint32_t what) const;
  void await_done(std::uint32_t word) const;
  void await_back(std::uint32_t step) const;
  void throw_failure(const agent::AgentTable& now) const;

  pid_t pid_;
  AgentTables tables_;  // another one may be of the copy that translates ids
  AgentTable table_;
  RemoteAddr address_;
};

}  // namespace ckpt::engine
