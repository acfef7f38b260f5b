// Descriptors that were sent through a Unix socket and not received yet. The descriptions that they refer to
// may have no number in the program any more.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "engine/resource/open_description.h"

namespace ckpt::engine::resource {

struct SaveState;

// Gathered while sockets are saved.
struct SentDescriptors {
  const std::vector<OpenDescription>& all;  // that have numbers in the program
  std::vector<UniqueFd> held = {};          // ours, for those that have none
};

// Index in Process.descriptions that the description of `fd` (ours) has or, after `all`, is going to have.
std::int32_t index_of_sent(SaveState& state, UniqueFd fd);

}  // namespace ckpt::engine::resource
