#include "launcher/control_client.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "base/error.h"
#include "base/unique_fd.h"
#include "launcher/control_socket.h"

namespace ckpt::launcher {
namespace {

void send_all(int socket, std::string_view text) {
  while (!text.empty()) {
    ssize_t put = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno("send the request to the supervisor");
    text.remove_prefix(static_cast<std::size_t>(put));
  }
}

// Everything up to the first newline, or with `to_end` up to the end of the connection.
std::string receive(int socket, bool to_end) {
  std::string text;
  std::array<char, 4096> buffer;
  while (to_end || text.find('\n') == std::string::npos) {
    ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ECONNRESET) throw_errno("receive the supervisor's answer");
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::optional<nlohmann::json> ask_supervisor(int directory, const ControlRequest& request) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) throw_errno("create a socket");
  sockaddr_un address = control_address(directory);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED) return std::nullopt;
    throw_errno("connect to the supervisor");
  }
  send_all(socket.get(), format_request(request));
  std::string answer = receive(socket.get(), false);
  if (answer.empty()) throw Error("the supervisor ended before it answered; look at the messages of ckptrun");
  nlohmann::json reply = parse_reply(answer);
  if (request.command == ControlCommand::kSuspend) receive(socket.get(), true);
  return reply;
}

}  // namespace ckpt::launcher
