#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

extern const ResourceKind kPtyMaster;

// The number of the pseudo-terminal whose slave `device` is and whose master the program has; none otherwise.
std::optional<int> pty_inside(const SaveState& state, dev_t device);

// The master of pseudo-terminal `index` of the checkpoint, made at the first call.
int restored_master(RestoreState& state, int index);

// A new description of the slave, opened with `flags`.
UniqueFd open_slave(int master, int flags);

// The session's controlling terminal, where it is a pseudo-terminal that the program runs itself.
void save_controlling_pty(const SaveState& state, image::ProcessT& process);
// In its leader, before it makes children; `made`: where all descriptions are.
void take_controlling_pty(const image::ProcessT& leader, const std::map<std::int32_t, int>& made);
void finish_controlling_pty(FinishState& state);

// /proc/PID/stat's tty_nr; 0 if there is none.
dev_t controlling_terminal(pid_t pid);

}  // namespace ckpt::engine::resource
