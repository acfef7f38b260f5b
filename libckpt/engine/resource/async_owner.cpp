#include "engine/resource/async_owner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/thread_list.h"
#include "engine/resource/finishing.h"

namespace ckpt::engine::resource {
namespace {

f_owner_ex owner_now(const FinishState& state, const image::DescriptionT& description) {
  f_owner_ex owner{};
  owner.type = static_cast<decltype(owner.type)>(description.owner_type);
  owner.pid = state.program.current_tid(description.owner);
  // The process group is one of ours that the process was put into before it had its final ids.
  if (owner.type == F_OWNER_PGRP) {
    owner.pid = static_cast<pid_t>(call_or_throw(state.program, "read the process group", SYS_getpgid, {0}));
  }
  return owner;
}

}  // namespace

// Only the program itself, its threads, or its process group come back under an id that we know.
void save_owner(SaveState& state, const OpenDescription& description, int fd, image::DescriptionT& saved) {
  f_owner_ex owner{};
  if (::fcntl(fd, F_GETOWN_EX, &owner) != 0)
    throw_errno(fmt::format("read the owner of {}", description.what()));
  int signal = ::fcntl(fd, F_GETSIG);
  if (signal < 0) throw_errno(fmt::format("read the signal of {}", description.what()));
  saved.owner_signal = signal;
  if (owner.pid == 0) return;
  pid_t pid = state.context.pid;
  bool own = owner.type == F_OWNER_PGRP ? owner.pid == ::getpgid(pid) : has_thread(pid, owner.pid);
  if (!own) {
    state.context.notes.push_back(
        fmt::format("{} sends signals to process {}, which is not part of the checkpoint", description.what(),
                    owner.pid));
    return;
  }
  saved.owner = innermost_id(owner.pid);
  saved.owner_type = owner.type;
}

void finish_owner(FinishState& state, const image::DescriptionT& description, int number) {
  auto fd = static_cast<std::uint64_t>(number);
  if (description.owner_signal != 0) {
    call_or_throw(state.program, fmt::format("set its signal to {}", description.owner_signal), SYS_fcntl,
                  {fd, F_SETSIG, static_cast<std::uint64_t>(description.owner_signal)});
  }
  if (description.owner != 0) {
    f_owner_ex owner = owner_now(state, description);
    RemoteAddr address = state.program.place(std::as_bytes(std::span(&owner, 1)));
    call_or_throw(state.program, "set the owner of its signals", SYS_fcntl, {fd, F_SETOWN_EX, address.value});
  }
  if ((description.status_flags & O_ASYNC) == 0 || (description.status_flags & O_PATH) != 0) return;
  std::int64_t flags = call_or_throw(state.program, "read its status flags", SYS_fcntl, {fd, F_GETFL, 0});
  call_or_throw(state.program, "set O_ASYNC", SYS_fcntl,
                {fd, F_SETFL, static_cast<std::uint64_t>(flags) | O_ASYNC});
}

}  // namespace ckpt::engine::resource
