// Unix sockets of a program, made again.
#pragma once

#include <string>

#include "engine/resource/resource_kinds.h"
#include "engine/resource/socket/address.h"

namespace ckpt::engine::resource {

using UnixDetail = image::UnixSocketDetailT;

// Whether others find it by its name. (An end that was accepted only shares the name of its listener.)
bool owns_name(const UnixDetail& detail);

// Why the name of `detail` cannot be had now (an errno), 0 if it can. Nothing is changed.
int name_problem(const UnixDetail& detail, const std::string& working_directory);

// Puts all of them into state.sockets, without what waits in them. To be called once.
void rebuild_unix_sockets(RestoreState& state);

// Once all descriptors are at their numbers: what waited in them, which may hold descriptors, and the end of
// connections to the outside. To be called once.
void finish_unix_sockets(RestoreState& state);

}  // namespace ckpt::engine::resource
