// The table of this process, and the way to its supervisor. All of it keeps errno.
#pragma once

#include <errno.h>
#include <stdint.h>

#include "agent/agent_table.h"

namespace ckpt::agent {

// The value of an environment variable, or nullptr. Searched for by hand: the program may have a getenv() of
// its own.
const char* variable(const char* name);

class KeepsErrno {
 public:
  KeepsErrno() : saved_(errno) {}
  ~KeepsErrno() { errno = saved_; }
  KeepsErrno(const KeepsErrno&) = delete;
  KeepsErrno& operator=(const KeepsErrno&) = delete;

 private:
  int saved_;
};

// Made when it is asked for first, by whichever thread; nullptr if there is no memory for it.
AgentTable* table();

// Reads from the environment whether this process, by its id, is the one that takes part.
void learn_supervisor(AgentTable& table);

// Whether the environment says that ckptrun started this process, or an ancestor.
bool started_by_ckptrun();

// The same if there is one, without making it.
AgentTable* existing_table();
// Whether this process is the one that the table is about: not so in forked children.
bool is_owner(const AgentTable& table);

// The same if this process is the one that its supervisor looks at, else nullptr.
AgentTable* joined_table();

// Tells the supervisor to look. False if there is none (any more).
bool wake_supervisor(const AgentTable& table);
bool supervisor_lives(const AgentTable& table);

// Returns when `word` is no longer `value`, after a wake-up, a signal, or `seconds` (0: no limit).
void wait_on(uint32_t& word, uint32_t value, unsigned seconds);
void wait_on_ms(uint32_t& word, uint32_t value, unsigned milliseconds);
void wake_waiters(uint32_t& word);

}  // namespace ckpt::agent
