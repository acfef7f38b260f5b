// Ids of System V objects (shared memory, semaphores, message queues; sysvipc(7)) are given out by the
// kernel: a counter of rounds above a slot number. Whoever may write /proc/sys/kernel/*_next_id chooses
// (CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE); anybody may make and remove objects until the wanted id comes
// round.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "image_generated.h"

namespace ckpt::engine::resource {

struct SystemVMaker {
  std::string what;           // "semaphore set"
  std::string next_id_file;   // of /proc/sys/kernel
  std::function<int()> make;  // with its key, IPC_CREAT and IPC_EXCL; -1 and errno on failure
  std::function<void(int)> remove;
};

// Makes an object that has the id of `object`. Error if that cannot be had.
void make_with_id(const SystemVMaker& maker, const image::SystemVObjectT& object);

// The same where another id will do; returns that.
int make_with_some_id(const SystemVMaker& maker, const image::SystemVObjectT& object);

}  // namespace ckpt::engine::resource
