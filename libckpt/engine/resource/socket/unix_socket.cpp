#include "engine/resource/socket/unix_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sockios.h>
#include <linux/un.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
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

// The permissions of the socket's file, if that is at `path`. Files are known by the lower half of their
// inode number.
std::optional<std::uint32_t> mode_of_file(const std::string& path, const UnixDetail& detail) {
  struct stat status {};
  bool same = ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode) &&
              static_cast<std::uint32_t>(status.st_ino) == detail.file_inode;
  return same ? std::optional(status.st_mode & 07777U) : std::nullopt;
}

// What the kernel tells whoever has CAP_NET_ADMIN. Empty: it does not, or the file has been removed.
std::string path_by_kernel(int fd) {
  UniqueFd file(::ioctl(fd, SIOCUNIXFILE));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || status.st_nlink == 0) return {};
  return read_link(fmt::format("/proc/self/fd/{}", file.get()));
}

// Whoever binds a socket under a name for the moment, and renames it when it listens, stays in the directory.
std::string path_of_renamed(const std::string& directory, const UnixDetail& detail) {
  constexpr std::size_t kMostNames = 10'000;
  std::error_code error;
  std::size_t seen = 0;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (++seen > kMostNames) break;
    if (mode_of_file(entry->path().string(), detail)) return entry->path().string();
  }
  return {};
}

// Directories that a program may have been in when it bound a socket to a name without one.
std::vector<std::string> likely_directories(const SaveState& state) {
  std::vector<std::string> directories;
  std::string words = read_file(fmt::format("/proc/{}/environ", state.context.pid));
  for (std::string_view rest = words; !rest.empty();) {
    std::string_view word = take_field(rest, '\0');
    std::size_t equals = word.find('=');
    if (equals != std::string_view::npos && word.substr(equals + 1).starts_with('/'))
      directories.emplace_back(word.substr(equals + 1));
  }
  for (const OpenDescription& other : state.all) {
    std::filesystem::path path = other.link;
    if (path.is_absolute()) directories.push_back(S_ISDIR(other.status.st_mode) ? path : path.parent_path());
  }
  return directories;
}

std::string path_of_moved(const SaveState& state, const std::string& name, const UnixDetail& detail) {
  std::filesystem::path path = name;
  if (path.is_absolute()) return path_of_renamed(path.parent_path(), detail);
  std::string here = read_link(fmt::format("/proc/{}/cwd", state.context.pid));
  if (std::string renamed = path_of_renamed((here / path).parent_path(), detail); !renamed.empty())
    return renamed;
  for (const std::string& directory : likely_directories(state)) {
    std::string candidate = std::filesystem::path(directory) / path;
    if (mode_of_file(candidate, detail)) return candidate;
  }
  return {};
}

void save_file(SaveState& state, int fd, const OpenDescription& description, UnixDetail& detail) {
  std::string name = SocketAddress(detail.name).unix_name();
  if (name.empty() || name.front() == '\0') return;
  std::optional<std::uint32_t> mode = mode_of_file(path_for_us(state, name), detail);
  if (!mode && owns_name(detail)) {
    std::string path = path_by_kernel(fd);
    if (path.empty()) path = path_of_moved(state, name, detail);
    mode = mode_of_file(path, detail);
    if (mode) detail.file_path = std::move(path);
  }
  detail.file_gone = !mode;
  if (mode) detail.file_mode = *mode;
  if (detail.file_gone && detail.state == UnixState::Listening) {
    state.context.notes.push_back(
        fmt::format("{} listens at {}, where its file is not (any more); nobody finds it after a recover",
                    description.what(), SocketAddress(detail.name).text()));
  }
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
  detail.file_inode = info->file_inode;
  detail.options = save_options(copy.get(), sort, false, state.socket_defaults, state.context.notes);
  if (int_option(copy.get(), SOL_SOCKET, SO_ACCEPTCONN) != 0) {
    detail.state = UnixState::Listening;
    detail.backlog = static_cast<std::int32_t>(info->backlog);
    detail.waiting = info->waiting;
    save_file(state, copy.get(), description, detail);
    return as_detail(std::move(detail));
  }
  if (auto peer = SocketAddress::peer_of(copy.get())) {
    detail.state = UnixState::Connected;
    detail.peer = info->peer;
    detail.peer_name = peer->bytes();
    if (sort.type == SOCK_STREAM) refuse_urgent_data(copy.get(), description.what());
    if (sort.type != SOCK_DGRAM) refuse_bytes_before_accept(copy.get(), description, *info);
  }
  save_file(state, copy.get(), description, detail);
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
