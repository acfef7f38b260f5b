#include "launcher/control_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <iterator>

#include "base/error.h"
#include "launcher/control_protocol.h"
#include "launcher/control_socket.h"

namespace ckpt::launcher {
namespace {

constexpr std::size_t kMostClients = 64;
constexpr int kBacklog = 64;

bool may_command(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

}  // namespace

ControlServer::ControlServer(int directory)
    : directory_(directory), listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  if (!listener_) throw_errno("create the control socket");
  if (::unlinkat(directory, kControlFile, 0) != 0 && errno != ENOENT) {
    throw_errno("remove the control socket of an earlier run; the store must be writable");
  }
  sockaddr_un address = control_address(directory);
  if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    throw_errno("bind the control socket in the application's directory");
  }
  // Between bind and chmod the directory's mode, 0700, keeps others out.
  if (::fchmodat(directory, kControlFile, 0600, 0) != 0) throw_errno("set the mode of the control socket");
  if (::listen(listener_.get(), kBacklog) != 0) throw_errno("listen on the control socket");
}

void ControlServer::withdraw() {
  ::unlinkat(directory_, kControlFile, 0);
  listener_.reset();
}

void ControlServer::add_to(std::vector<pollfd>& polled) const {
  if (clients_.size() < kMostClients)
    polled.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  for (const auto& [id, client] : clients_) {
    short events = client.output.empty() ? POLLIN : static_cast<short>(POLLIN | POLLOUT);
    polled.push_back({.fd = client.socket.get(), .events = events, .revents = 0});
  }
}

void ControlServer::accept_clients() {
  while (clients_.size() < kMostClients) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    if (!may_command(socket.get())) continue;
    clients_.emplace(next_id_++, Client{.socket = std::move(socket), .input = {}, .output = {}});
  }
}

// False if the client is to be dropped.
bool ControlServer::read_from(ClientId id, Client& client, std::vector<Line>& lines) {
  std::array<char, 4096> buffer;
  ssize_t got = ::recv(client.socket.get(), buffer.data(), buffer.size(), 0);
  if (got == 0) return false;
  if (got < 0) return would_block();
  client.input.append(buffer.data(), static_cast<std::size_t>(got));
  for (;;) {
    std::size_t end = client.input.find('\n');
    if (end == std::string::npos) break;
    lines.push_back({id, client.input.substr(0, end)});
    client.input.erase(0, end + 1);
  }
  return client.input.size() <= kLongestLine;
}

bool ControlServer::flush(Client& client) {
  while (!client.output.empty()) {
    ssize_t put = ::send(client.socket.get(), client.output.data(), client.output.size(), MSG_NOSIGNAL);
    if (put < 0) return would_block() && client.output.size() <= kLongestLine;
    client.output.erase(0, static_cast<std::size_t>(put));
  }
  return true;
}

std::vector<ControlServer::Line> ControlServer::serve() {
  accept_clients();
  std::vector<Line> lines;
  for (auto it = clients_.begin(); it != clients_.end();) {
    bool keep = read_from(it->first, it->second, lines) && flush(it->second);
    it = keep ? std::next(it) : clients_.erase(it);
  }
  return lines;
}

void ControlServer::send(ClientId client, const std::string& reply) {
  auto it = clients_.find(client);
  if (it == clients_.end()) return;
  it->second.output += reply;
  if (!flush(it->second)) clients_.erase(it);
}

}  // namespace ckpt::launcher
