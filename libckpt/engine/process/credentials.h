// Users, groups and capabilities.
//
// What can be rebuilt: the credentials of the session that recovers, whatever they are; and, by root, those
// of a process that execve would leave as they are: one user and one group throughout, capabilities as that
// user gets them. Everything else is refused when the checkpoint is made.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/process/proc_status.h"
#include "engine/tracee/tracee.h"
#include "image_generated.h"

namespace ckpt::engine {

// Throws Error for what cannot be rebuilt, threads that differ from each other and seccomp filters included.
void save_credentials(Tracee& tracee, const ProcStatus& status, image::ProcessT& process);

// Throws Error if this session cannot give the program its credentials.
void check_credentials(const image::ProcessT& process, std::vector<std::string>& notes);

// In the process that becomes the program, as late as possible: it may not be able to do much afterwards.
void apply_credentials(const image::ProcessT& process);

// Credentials in a /proc status text (securebits are not in it).
image::CredentialsT credentials_in(const ProcStatus& status);

// Why a process with the credentials `own` cannot start one with `wanted`.
std::optional<std::string> credentials_obstacle(const image::CredentialsT& wanted,
                                                const image::CredentialsT& own);

}  // namespace ckpt::engine
