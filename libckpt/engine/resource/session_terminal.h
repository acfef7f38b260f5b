// How the program set the terminal that it has from its session (raw mode of an editor, say): set again on
// the terminal of the session that it is recovered in.
#pragma once

#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

void save_session_terminal(const SaveState& state, image::ProcessT& process);

// In the supervisor, which has the new terminal as its own. A window of another size is told by SIGWINCH.
void finish_session_terminal(FinishState& state);

}  // namespace ckpt::engine::resource
