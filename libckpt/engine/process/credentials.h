// Users, groups and capabilities.
//
// What can be rebuilt: the credentials of the session that recovers, whatever they are; and, by root, any
// that all threads of a process have alike. Everything else is refused when the checkpoint is made.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/process/proc_status.h"
#include "engine/restore/plan_builder.h"
#include "engine/tracee/remote_queries.h"
#include "image_generated.h"

namespace ckpt::engine {

// Of the calling thread, at the time of construction.
struct OwnCredentials {
  OwnCredentials();

  ProcStatus status;
  image::CredentialsT credentials;
};

// `threads` are the statuses of all threads, the main thread's first. Throws Error for what cannot be
// rebuilt: threads that differ from each other and seccomp filters at once, the rest when the queries run.
// `own` and `process` must live until then.
void save_credentials(std::span<const ProcStatus> threads, const OwnCredentials& own, RemoteQueries& queries,
                      image::ProcessT& process);

// Throws Error if this session cannot give the program its credentials.
void check_credentials(const image::ProcessT& process, std::vector<std::string>& notes);

// For each thread when all of them exist, as late as possible: it may not be able to do much afterwards, not
// even make threads with their ids. What comes after it: whether the process is dumpable, which this changes.
void plan_credentials(const image::ProcessT& process, const image::ThreadT& thread, PlanBuilder& plan);

// Credentials in a /proc status text (securebits are not in it).
image::CredentialsT credentials_in(const ProcStatus& status);

// Why a process with the credentials `own` cannot start one with `wanted`.
std::optional<std::string> credentials_obstacle(const image::CredentialsT& wanted,
                                                const image::CredentialsT& own);

}  // namespace ckpt::engine
