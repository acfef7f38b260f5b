// Connecting a program that is recovered with a server again, or with another one that takes its place.
#pragma once

#include <string>

#include "base/unique_fd.h"
#include "engine/resource/socket_policy.h"
#include "launcher/lease.h"

namespace ckpt::launcher {

// Whether `connection` was made to `place`, by this name or to an address that it has now.
bool leads_to(const engine::OutsideConnection& connection, const Endpoint& place);

struct Reconnected {
  UniqueFd socket;      // connected, non-blocking; none if nobody answered
  std::string failure;  // then, why
};

// A TCP socket of `family` (AF_INET, AF_INET6) connected with the first address of `place` that answers, to
// which all of `preamble` has been sent. Takes a few seconds for each address that does not answer.
Reconnected reconnect(const Endpoint& place, int family, const std::string& preamble);

}  // namespace ckpt::launcher
