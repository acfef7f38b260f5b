#include "engine/resource/resource_kinds.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <array>

#include "base/error.h"
#include "engine/resource/device.h"
#include "engine/resource/directory.h"
#include "engine/resource/epoll.h"
#include "engine/resource/event_fd.h"
#include "engine/resource/fifo.h"
#include "engine/resource/inherited.h"
#include "engine/resource/inotify.h"
#include "engine/resource/io_ring.h"
#include "engine/resource/kept_elsewhere.h"
#include "engine/resource/kernel_file.h"
#include "engine/resource/memfd.h"
#include "engine/resource/message_queue.h"
#include "engine/resource/pid_fd.h"
#include "engine/resource/pipe.h"
#include "engine/resource/pty_master.h"
#include "engine/resource/regular_file.h"
#include "engine/resource/signal_fd.h"
#include "engine/resource/socket/inet_socket.h"
#include "engine/resource/socket/kernel_socket.h"
#include "engine/resource/socket/unix_socket.h"
#include "engine/resource/terminal.h"
#include "engine/resource/timer_fd.h"

namespace ckpt::engine::resource {
namespace {

// Inherited comes first, whatever it is, and then what a library keeps elsewhere; kernel files before the
// regular files and directories they look like; FIFOs (with a name that leads to them) before pipes.
constexpr std::array kKinds{
    &kInherited, &kKeptElsewhere, &kKernelFile, &kMessageQueue, &kMemfd,   &kRegularFile,
    &kDirectory, &kPtyMaster,     &kTerminal,   &kDevice,       &kFifo,    &kPipe,
    &kEventFd,   &kTimerFd,       &kSignalFd,   &kEpoll,        &kInotify, &kIoRing,
    &kPidFd,     &kInetSocket,    &kUnixSocket, &kKernelSocket,
};

}  // namespace

std::span<const ResourceKind* const> resource_kinds() { return kKinds; }

const ResourceKind& kind_of(const image::DescriptionT& description) {
  for (const ResourceKind* kind : kKinds) {
    if (kind->detail == description.detail.type) return *kind;
  }
  throw Error(
      fmt::format("the checkpoint holds a descriptor of unknown kind {}; recover it with the ckptrun that "
                  "wrote it or a newer one",
                  static_cast<int>(description.detail.type)));
}

std::array<std::optional<struct stat>, 3> own_stream_statuses() {
  std::array<std::optional<struct stat>, 3> statuses;
  for (std::size_t number = 0; number < statuses.size(); ++number) {
    struct stat status {};
    if (::fstat(static_cast<int>(number), &status) == 0) statuses.at(number) = status;
  }
  return statuses;
}

decltype(statfs::f_type) SaveState::filesystem_of(const OpenDescription& description) const {
  auto [known, is_new] = filesystems.try_emplace(description.status.st_dev);
  if (!is_new) return known->second;
  struct statfs filesystem {};
  std::string path = fmt::format("/proc/{}/fd/{}", description.holder(), description.number());
  if (::statfs(path.c_str(), &filesystem) != 0) throw_errno(fmt::format("statfs {}", path));
  return known->second = filesystem.f_type;
}

std::optional<SocketSort> SaveState::socket_sort_of(const OpenDescription& description) const {
  if (!S_ISSOCK(description.status.st_mode) || description.access_mode() < 0) return std::nullopt;
  auto known = socket_sorts.find(description.status.st_ino);
  if (known == socket_sorts.end()) {
    SocketSort sort = sort_of(copy_descriptor(description).get());
    known = socket_sorts.emplace(description.status.st_ino, sort).first;
  }
  return known->second;
}

UniqueFd RestoreState::lift(UniqueFd fd) const {
  if (fd.get() >= scratch_base) return fd;
  UniqueFd lifted(::fcntl(fd.get(), F_DUPFD_CLOEXEC, scratch_base));
  if (!lifted) {
    throw_errno(fmt::format("no descriptor is free from {} on; raise the limit on open files", scratch_base));
  }
  return lifted;
}

}  // namespace ckpt::engine::resource
