#include "engine/resource/socket/unix_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/socket/address.h"
#include "engine/resource/socket/in_flight.h"
#include "engine/resource/socket/options.h"
#include "engine/resource/socket/queue.h"
#include "engine/resource/socket/unix_diag.h"
#include "engine/resource/socket/unix_rebuild.h"

namespace ckpt::engine::resource {
namespace {

using image::UnixState;

constexpr std::uint32_t kEnded = 3;

bool matches(const SaveState& state, const OpenDescription& description) {
  std::optional<SocketSort> sort = state.socket_sort_of(description);
  return sort && sort->family == AF_UNIX;
}

// The file that a path names for the program.
std::string path_for_us(const SaveState& state, const std::string& name) {
  if (name.starts_with('/')) return fmt::format("/proc/{}/root{}", state.context.pid, name);
  return fmt::format("/proc/{}/cwd/{}", state.context.pid, name);
}

void save_file(const SaveState& state, const UnixSocketInfo& info, UnixDetail& detail) {
  std::string name = SocketAddress(detail.name).unix_name();
  if (name.empty() || name.front() == '\0') return;
  struct stat status {};
  bool same = ::stat(path_for_us(state, name).c_str(), &status) == 0 && S_ISSOCK(status.st_mode) &&
              static_cast<std::uint32_t>(status.st_ino) == info.file_inode;
  detail.file_gone = !same;
  if (same) detail.file_mode = status.st_mode & 07777U;
}

void save_messages(SaveState& state, int fd, const OpenDescription& description, UnixDetail& detail) {
  for (WaitingMessage& message : peek_messages(fd, detail.error_pending)) {
    auto saved = std::make_unique<image::UnixMessageT>();
    saved->bytes = std::move(message.bytes);
    saved->source = message.source.bytes();
    for (UniqueFd& sent : message.descriptors)
      saved->descriptions.push_back(index_of_sent(state, std::move(sent)));
    detail.messages.push_back(std::move(saved));
  }
  if (detail.error_pending && detail.type == SOCK_DGRAM) {
    state.context.notes.push_back(
        fmt::format("{} has an error pending; the messages behind it are not saved", description.what()));
  }
}

// What a client has sent before it is accepted is in nobody's reach.
void refuse_bytes_before_accept(int fd, const OpenDescription& description, const UnixSocketInfo& info) {
  bool unaccepted = info.peer == 0 && info.shutdown != kEnded;
  int unread = 0;
  if (!unaccepted || ::ioctl(fd, SIOCOUTQ, &unread) != 0 || unread == 0) return;
  throw Error(fmt::format(
      "{} has sent something before its connection was accepted, which cannot be saved; try again "
      "later",
      description.what()));
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  UniqueFd copy = copy_descriptor(description);
  std::optional<UnixSocketInfo> info = unix_socket_info(description.status.st_ino);
  if (!info) {
    throw Error(fmt::format(
        "{} is a Unix socket of another network namespace, which cannot be saved; close it before the "
        "checkpoint",
        description.what()));
  }
  SocketSort sort = *state.socket_sort_of(description);
  UnixDetail detail;
  detail.inode = description.status.st_ino;
  detail.type = sort.type;
  detail.name = SocketAddress::local_of(copy.get()).bytes();
  detail.shutdown = info->shutdown;
  save_file(state, *info, detail);
  detail.options = save_options(copy.get(), sort, false, state.socket_defaults, state.context.notes);
  if (int_option(copy.get(), SOL_SOCKET, SO_ACCEPTCONN) != 0) {
    detail.state = UnixState::Listening;
    detail.backlog = static_cast<std::int32_t>(info->backlog);
    detail.waiting = info->waiting;
    return as_detail(std::move(detail));
  }
  if (auto peer = SocketAddress::peer_of(copy.get())) {
    detail.state = UnixState::Connected;
    detail.peer = info->peer;
    detail.peer_name = peer->bytes();
    if (sort.type != SOCK_DGRAM) refuse_bytes_before_accept(copy.get(), description, *info);
  }
  save_messages(state, copy.get(), description, detail);
  return as_detail(std::move(detail));
}

std::string check(CheckState& state, const image::DescriptionT& description) {
  const UnixDetail& detail = *description.detail.AsUnixSocketDetail();
  SocketAddress name(detail.name);
  if (name.unix_name().empty() || !owns_name(detail)) return {};
  int error = name_problem(detail, state.checkpoint.process->working_directory);
  if (error == 0) return {};
  state.lost_addresses.push_back(
      {.inode = detail.inode,
       .what = describe_sort({.family = AF_UNIX, .type = detail.type, .protocol = 0}),
       .address = name.text(),
       .error = error});
  return {};
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  if (!state.unix_sockets_made) rebuild_unix_sockets(state);
  state.unix_sockets_made = true;
  const UnixDetail& detail = *description.detail.AsUnixSocketDetail();
  return duplicate(state.sockets.at(detail.inode).get(), "a socket");
}

void connect(RestoreState& state, const image::DescriptionT&, int) {
  if (!state.unix_sockets_finished) finish_unix_sockets(state);
  state.unix_sockets_finished = true;
}

}  // namespace

const ResourceKind kUnixSocket{"Unix socket",
                               image::DescriptionDetail::UnixSocketDetail,
                               O_NONBLOCK | O_ASYNC | O_APPEND,
                               matches,
                               save,
                               check,
                               restore,
                               connect};

}  // namespace ckpt::engine::resource
