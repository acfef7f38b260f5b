// Order, and why: names are bound first, so that others can be connected with them; each connection is
// accepted from the listener that it came through, because its end there shares the listener's name, and
// before anything waits in that listener's queue. Whatever has no name comes from socketpair(2).
//
// A file that a killed program left behind is replaced if no socket is bound to it any more. Once bound, a
// socket is reached through an open descriptor of its file, which can go at once to where it was: another one
// may have been bound to the same name since.
#include "engine/resource/socket/unix_rebuild.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/socket/options.h"
#include "engine/resource/socket/queue.h"
#include "engine/resource/socket/unix_diag.h"

namespace ckpt::engine::resource {
namespace {

using image::UnixState;

constexpr std::uint32_t kReceivesNoMore = 1;
constexpr std::uint32_t kSendsNoMore = 2;

SocketSort sort_of(const UnixDetail& detail) {
  return {.family = AF_UNIX, .type = detail.type, .protocol = 0};
}

std::string name_of(const UnixDetail& detail) { return SocketAddress(detail.name).unix_name(); }
std::string peer_name_of(const UnixDetail& detail) { return SocketAddress(detail.peer_name).unix_name(); }
bool is_path(const std::string& name) { return !name.empty() && name.front() != '\0'; }
bool is_datagram(const UnixDetail& detail) { return detail.type == SOCK_DGRAM; }

struct Pair {
  UniqueFd left;
  UniqueFd right;
};

Pair make_pair(int type) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0)
    throw_errno("make a pair of sockets");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Names of files may be relative to where the program is.
class InDirectory {
 public:
  explicit InDirectory(const std::string& directory) : before_(open_or_throw(".", O_PATH | O_DIRECTORY)) {
    if (!directory.empty() && ::chdir(directory.c_str()) != 0)
      throw_errno(fmt::format("change to the working directory {}", directory));
  }
  ~InDirectory() { static_cast<void>(::fchdir(before_.get()) == 0); }
  InDirectory(const InDirectory&) = delete;
  InDirectory& operator=(const InDirectory&) = delete;

 private:
  UniqueFd before_;
};

// What is left of a socket that is gone; anything else is in the way.
int file_problem(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno == ENOENT ? 0 : errno;
  if (!S_ISSOCK(status.st_mode)) return EEXIST;
  return is_bound_to_file(path, status) ? EADDRINUSE : 0;
}

int bind_to(int fd, const std::string& name) {
  if (is_path(name)) {
    if (int problem = file_problem(name); problem != 0) return problem;
    if (::unlink(name.c_str()) != 0 && errno != ENOENT) return errno;
  }
  SocketAddress address = SocketAddress::of_unix(name);
  return ::bind(fd, address.get(), address.size()) == 0 ? 0 : errno;
}

// For what nobody can reach by its name: the kernel chooses another.
int bind_to_any(int fd) {
  sa_family_t family = AF_UNIX;
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&family), sizeof family) == 0 ? 0 : errno;
}

// Where a relative name led when the socket was bound to it. Empty: to where the program is.
std::string directory_of_binding(const UnixDetail& socket) {
  std::string name = name_of(socket);
  if (name.starts_with('/') || !socket.file_path.ends_with('/' + name)) return {};
  return socket.file_path.substr(0, socket.file_path.size() - name.size());
}

std::string path_of_descriptor(int fd) { return fmt::format("/proc/self/fd/{}", fd); }

// By which it can be connected with, and sent to.
std::string way_to(const RestoreState& state, const UnixDetail& socket) {
  auto file = state.socket_files.find(socket.inode);
  return file == state.socket_files.end() ? name_of(socket) : path_of_descriptor(file->second.get());
}

int connect_to(int fd, const std::string& name) {
  SocketAddress address = SocketAddress::of_unix(name);
  return ::connect(fd, address.get(), address.size()) == 0 ? 0 : errno;
}

class UnixRebuild {
 public:
  explicit UnixRebuild(RestoreState& state) : state_(state) {
    for (const auto& description : state.checkpoint.process->descriptions) {
      if (const UnixDetail* detail = description->detail.AsUnixSocketDetail())
        sockets_[detail->inode] = detail;
    }
  }

  void run() {
    for (bool leaving : {true, false}) {
      for (const auto& [inode, socket] : sockets_) {
        if (leaves_its_name(*socket) == leaving) make_named(*socket);
      }
    }
    for (const auto& [inode, socket] : sockets_) make_connection(*socket);
    for (const auto& [inode, socket] : sockets_) make_rest(*socket);
    for (const auto& [inode, socket] : sockets_) connect_waiting(*socket);
    for (const auto& [inode, socket] : sockets_) connect_datagrams(*socket);
  }

 private:
  bool is_made(const UnixDetail& socket) const { return state_.sockets.contains(socket.inode); }
  int made(const UnixDetail& socket) const { return state_.sockets.at(socket.inode).get(); }
  bool is_lost(const UnixDetail& socket) const {
    return state_.objects.sockets.lost_addresses.contains(socket.inode);
  }
  void keep(const UnixDetail& socket, UniqueFd fd) {
    set_options(fd.get(), socket.options);
    state_.sockets.insert_or_assign(socket.inode, state_.lift(std::move(fd)));
  }
  const UnixDetail* find(std::uint64_t inode) const {
    auto found = sockets_.find(inode);
    return found == sockets_.end() ? nullptr : found->second;
  }
  // What is not at its name need not keep others from it.
  static bool leaves_its_name(const UnixDetail& socket) {
    return socket.file_gone || !socket.file_path.empty();
  }
  const UnixDetail* partner_of(const UnixDetail& socket) const;
  const UnixDetail* listener_of(const UnixDetail& server) const;
  void put_file_in_place(const UnixDetail& socket);
  bool waits_for_accept(const UnixDetail& socket) const;
  void bind_or_throw(int fd, const UnixDetail& socket);
  void make_named(const UnixDetail& socket);
  void make_connection(const UnixDetail& socket);
  bool accept_connection(const UnixDetail& server, const UnixDetail& client);
  UniqueFd listener_for_now(const UnixDetail& server) const;
  void make_rest(const UnixDetail& socket);
  void connect_waiting(const UnixDetail& listener);
  void connect_datagrams(const UnixDetail& socket);

  RestoreState& state_;
  std::map<std::uint64_t, const UnixDetail*> sockets_;
};

// Two that are connected with each other. A datagram socket may be connected with one that is not with it.
const UnixDetail* UnixRebuild::partner_of(const UnixDetail& socket) const {
  if (socket.state != UnixState::Connected || socket.peer == 0 || socket.peer == socket.inode) return nullptr;
  const UnixDetail* other = find(socket.peer);
  return other != nullptr && other->peer == socket.inode ? other : nullptr;
}

bool UnixRebuild::waits_for_accept(const UnixDetail& socket) const {
  for (const auto& [inode, listener] : sockets_) {
    if (std::ranges::find(listener->waiting, socket.inode) != listener->waiting.end()) return true;
  }
  return false;
}

void UnixRebuild::put_file_in_place(const UnixDetail& socket) {
  std::string name = name_of(socket);
  UniqueFd file = open_or_throw(name, O_PATH | O_NOFOLLOW);
  if (socket.file_gone) {
    ::unlink(name.c_str());
  } else if (!socket.file_path.empty() && ::rename(name.c_str(), socket.file_path.c_str()) != 0) {
    throw_errno(fmt::format("rename {} to {} again", name, socket.file_path));
  }
  state_.socket_files.insert_or_assign(socket.inode, state_.lift(std::move(file)));
}

void UnixRebuild::bind_or_throw(int fd, const UnixDetail& socket) {
  std::string name = name_of(socket);
  if (name.empty() || is_lost(socket)) return;
  InDirectory directory(directory_of_binding(socket));
  int problem = bind_to(fd, name);
  if (problem == 0 && is_path(name)) return put_file_in_place(socket);
  if (problem != 0 && socket.file_gone) problem = bind_to_any(fd);
  if (problem != 0) {
    throw Error(fmt::format("bind a {} to {} again: {}; end what uses it, and recover again",
                            describe_sort(sort_of(socket)), SocketAddress(socket.name).text(),
                            describe_errno(problem)),
                problem);
  }
}

// Listeners, and datagram sockets that others send to by name.
void UnixRebuild::make_named(const UnixDetail& socket) {
  bool orphan = socket.state == UnixState::Connected && peer_name_of(socket).empty();
  bool datagram = is_datagram(socket) && partner_of(socket) == nullptr && !orphan;
  if (socket.state != UnixState::Listening && !datagram) return;
  UniqueFd fd = make_socket(sort_of(socket));
  bind_or_throw(fd.get(), socket);
  if (socket.state == UnixState::Listening && !is_lost(socket) && ::listen(fd.get(), socket.backlog) != 0)
    throw_errno(fmt::format("listen at {} again", SocketAddress(socket.name).text()));
  keep(socket, std::move(fd));
}

// That accepted it; several may have had the same name, one after the other.
const UnixDetail* UnixRebuild::listener_of(const UnixDetail& server) const {
  for (const auto& [inode, socket] : sockets_) {
    bool is_it = socket->state == UnixState::Listening && socket->type == server.type &&
                 name_of(*socket) == name_of(server) && socket->file_inode == server.file_inode &&
                 !is_lost(*socket);
    if (is_it) return socket;
  }
  return nullptr;
}

// Takes the place of one that is closed.
UniqueFd UnixRebuild::listener_for_now(const UnixDetail& server) const {
  UniqueFd fd = make_socket(sort_of(server));
  if (bind_to(fd.get(), name_of(server)) != 0 || ::listen(fd.get(), 1) != 0) return {};
  return fd;
}

// False if the name of the server's end cannot be had.
bool UnixRebuild::accept_connection(const UnixDetail& server, const UnixDetail& client) {
  const UnixDetail* living = listener_of(server);
  UniqueFd listener = living != nullptr ? duplicate(made(*living), "a listener") : listener_for_now(server);
  if (!listener) return false;
  UniqueFd connecting = make_socket(sort_of(client));
  bind_or_throw(connecting.get(), client);
  int problem = connect_to(connecting.get(), living != nullptr ? way_to(state_, *living) : name_of(server));
  if (problem != 0)
    throw_errno(fmt::format("connect to {} again", SocketAddress(server.name).text()), problem);
  UniqueFd accepted(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!accepted)
    throw_errno(fmt::format("accept a connection at {} again", SocketAddress(server.name).text()));
  if (living == nullptr && is_path(name_of(server))) ::unlink(name_of(server).c_str());
  keep(server, std::move(accepted));
  keep(client, std::move(connecting));
  return true;
}

bool is_listening_name(const std::map<std::uint64_t, const UnixDetail*>& sockets, const std::string& name) {
  return std::ranges::any_of(sockets, [&](const auto& entry) {
    return entry.second->state == UnixState::Listening && name_of(*entry.second) == name;
  });
}

void UnixRebuild::make_connection(const UnixDetail& socket) {
  const UnixDetail* partner = partner_of(socket);
  if (partner == nullptr || is_made(socket)) return;
  bool named = !name_of(socket).empty() || !name_of(*partner).empty();
  if (named && !is_datagram(socket)) {
    bool serves = !name_of(socket).empty() &&
                  (name_of(*partner).empty() || is_listening_name(sockets_, name_of(socket)));
    if (accept_connection(serves ? socket : *partner, serves ? *partner : socket)) return;
  }
  Pair pair = make_pair(socket.type);
  if (is_datagram(socket)) {
    bind_or_throw(pair.left.get(), socket);
    bind_or_throw(pair.right.get(), *partner);
  }
  keep(socket, std::move(pair.left));
  keep(*partner, std::move(pair.right));
}

// New ones, and those whose other end is closed or outside: what is left of it is held until the end.
void UnixRebuild::make_rest(const UnixDetail& socket) {
  if (is_made(socket) || waits_for_accept(socket)) return;
  if (socket.state != UnixState::Connected) {
    UniqueFd fd = make_socket(sort_of(socket));
    bind_or_throw(fd.get(), socket);
    return keep(socket, std::move(fd));
  }
  Pair pair = make_pair(socket.type);
  std::string name = name_of(socket);
  bool bound = !name.empty() && bind_to(pair.left.get(), name) == 0;  // most often a listener's, and taken
  if (bound && is_path(name) && socket.file_gone) ::unlink(name.c_str());
  keep(socket, std::move(pair.left));
  state_.other_ends.insert_or_assign(socket.inode, state_.lift(std::move(pair.right)));
}

void UnixRebuild::connect_waiting(const UnixDetail& listener) {
  for (std::uint64_t inode : listener.waiting) {
    const UnixDetail* client = find(inode);
    if (client == nullptr || is_made(*client)) continue;
    UniqueFd fd = make_socket(sort_of(*client));
    bind_or_throw(fd.get(), *client);
    int problem = is_lost(listener) ? 0 : connect_to(fd.get(), way_to(state_, listener));
    if (problem != 0) {
      throw_errno(fmt::format("connect to {} again", SocketAddress(listener.name).text()), problem);
    }
    keep(*client, std::move(fd));
  }
}

// Whoever received them may be gone (a log daemon that was restarted): sending then fails, as it would have.
void UnixRebuild::connect_datagrams(const UnixDetail& socket) {
  if (!is_datagram(socket) || socket.state != UnixState::Connected || partner_of(socket) != nullptr) return;
  const UnixDetail* inside = find(socket.peer);
  std::string peer = inside != nullptr ? way_to(state_, *inside) : peer_name_of(socket);
  if (!peer.empty()) connect_to(made(socket), peer);
}

// What waited in sockets, from whoever sent it; and the ends of connections.
class UnixFinish {
 public:
  explicit UnixFinish(RestoreState& state) : state_(state) {}

  void run() {
    for (const auto& description : state_.checkpoint.process->descriptions) {
      const UnixDetail* detail = description->detail.AsUnixSocketDetail();
      if (detail == nullptr || !done_.insert(detail->inode).second) continue;
      for (const auto& message : detail->messages) put(*detail, *message);
    }
    for (const auto& description : state_.checkpoint.process->descriptions) {
      const UnixDetail* detail = description->detail.AsUnixSocketDetail();
      if (detail != nullptr && done_.erase(detail->inode) != 0) end(*detail);
    }
    state_.other_ends.clear();
    state_.socket_files.clear();
  }

 private:
  int made(std::uint64_t inode) const { return state_.sockets.at(inode).get(); }
  void put(const UnixDetail& receiver, const image::UnixMessageT& message);
  UniqueFd stand_in(const SocketAddress& source) const;
  struct Sender {
    int fd = -1;  // nobody in the program
    bool connected = false;
  };
  Sender sender_of(const UnixDetail& receiver, const SocketAddress& source) const;
  void end(const UnixDetail& socket);
  void settle_file(const UnixDetail& socket) const;

  RestoreState& state_;
  std::set<std::uint64_t> done_;
};

UnixFinish::Sender UnixFinish::sender_of(const UnixDetail& receiver, const SocketAddress& source) const {
  if (auto other = state_.other_ends.find(receiver.inode); other != state_.other_ends.end())
    return {other->second.get(), true};
  if (!is_datagram(receiver)) {
    auto partner = state_.sockets.find(receiver.peer);
    return {partner == state_.sockets.end() ? -1 : partner->second.get(), true};
  }
  for (const auto& description : state_.checkpoint.process->descriptions) {
    const UnixDetail* sender = description->detail.AsUnixSocketDetail();
    if (sender == nullptr || !is_datagram(*sender) || name_of(*sender) != source.unix_name()) continue;
    bool connected = sender->peer == receiver.inode;
    if (connected || !name_of(*sender).empty()) return {made(sender->inode), connected};
  }
  return {};
}

// For a sender that is gone; the receiver sees its name if it is free.
UniqueFd UnixFinish::stand_in(const SocketAddress& source) const {
  UniqueFd fd = make_socket({.family = AF_UNIX, .type = SOCK_DGRAM, .protocol = 0});
  std::string name = source.unix_name();
  if (!name.empty() && !is_path(name)) bind_to(fd.get(), name);
  return fd;
}

void UnixFinish::put(const UnixDetail& receiver, const image::UnixMessageT& message) {
  std::vector<int> descriptors;
  for (std::int32_t index : message.descriptions) descriptors.push_back(state_.description_numbers.at(index));
  SocketAddress source(message.source);
  std::string what = fmt::format("a {}", describe_sort(sort_of(receiver)));
  Sender sender = sender_of(receiver, source);
  UniqueFd replacement;
  if (sender.fd < 0 && is_datagram(receiver)) {
    replacement = stand_in(source);
    sender.fd = replacement.get();
  }
  if (sender.fd < 0)
    throw Error(fmt::format("nobody can send what waited in {}; the checkpoint is damaged", what));
  put_message(sender.fd, message.bytes, descriptors,
              sender.connected ? SocketAddress() : SocketAddress::of_unix(way_to(state_, receiver)), what);
}

// The other end of a connection to the outside, or of one that had ended, goes away.
void UnixFinish::end(const UnixDetail& socket) {
  settle_file(socket);
  int fd = made(socket.inode);
  auto other = state_.other_ends.find(socket.inode);
  if (other != state_.other_ends.end()) {
    bool was_open = socket.shutdown != (kReceivesNoMore | kSendsNoMore);
    bool by_reset =
        socket.error_pending || (was_open && state_.objects.sockets.connections == LostConnections::kReset);
    // A peer that leaves something unread resets the connection.
    if (by_reset) ::send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    state_.other_ends.erase(other);
  }
  if (socket.state != UnixState::Connected) return;
  if ((socket.shutdown & kSendsNoMore) != 0) ::shutdown(fd, SHUT_WR);
  if ((socket.shutdown & kReceivesNoMore) != 0) ::shutdown(fd, SHUT_RD);
}

void UnixFinish::settle_file(const UnixDetail& socket) const {
  auto file = state_.socket_files.find(socket.inode);
  if (file == state_.socket_files.end() || socket.file_gone) return;
  if (::chmod(path_of_descriptor(file->second.get()).c_str(), socket.file_mode) != 0)
    throw_errno(fmt::format("set the mode of {}", name_of(socket)));
}

}  // namespace

bool owns_name(const UnixDetail& detail) {
  return detail.state != UnixState::Connected || detail.type == SOCK_DGRAM;
}

int name_problem(const UnixDetail& detail, const std::string& working_directory) {
  InDirectory directory(working_directory);
  InDirectory of_binding(directory_of_binding(detail));
  std::string name = name_of(detail);
  if (detail.file_gone) return 0;
  if (is_path(name)) {
    int problem = detail.file_path.empty() ? 0 : file_problem(detail.file_path);
    return problem != 0 ? problem : file_problem(name);
  }
  return bind_to(make_socket(sort_of(detail)).get(), name);
}

void rebuild_unix_sockets(RestoreState& state) {
  InDirectory directory(state.checkpoint.process->working_directory);
  UnixRebuild(state).run();
}

void finish_unix_sockets(RestoreState& state) {
  InDirectory directory(state.checkpoint.process->working_directory);
  UnixFinish(state).run();
}

}  // namespace ckpt::engine::resource
