#include "engine/resource/socket/unix_diag.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <span>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/resource/inode_paths.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::size_t kAnswerBytes = 1 << 16;

struct Request {
  nlmsghdr header;
  unix_diag_req body;
};

template <typename Value>
Value value_at(const char* data) {
  Value value{};
  std::memcpy(&value, data, sizeof value);
  return value;
}

Request request_for(std::uint64_t inode, bool all, std::uint32_t show) {
  Request request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | (all ? NLM_F_DUMP : 0));
  request.body.sdiag_family = AF_UNIX;
  request.body.udiag_states = ~0U;
  request.body.udiag_ino = static_cast<std::uint32_t>(inode);
  request.body.udiag_show = show;
  request.body.udiag_cookie[0] = ~0U;  // any
  request.body.udiag_cookie[1] = ~0U;
  return request;
}

// Calls `visit` with every attribute of every socket that is told of. The result is an errno, 0 if all went
// well.
using Visit = std::function<void(const unix_diag_msg&, std::uint16_t type, std::span<const char> value)>;

void visit_attributes(const nlmsghdr& header, const char* message, const Visit& visit) {
  auto body = value_at<unix_diag_msg>(message + NLMSG_HDRLEN);
  std::size_t offset = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(unix_diag_msg));
  while (offset + sizeof(nlattr) <= header.nlmsg_len) {
    auto attribute = value_at<nlattr>(message + offset);
    if (attribute.nla_len < sizeof attribute) break;
    visit(body, attribute.nla_type,
          {message + offset + NLA_HDRLEN, static_cast<std::size_t>(attribute.nla_len - NLA_HDRLEN)});
    offset += NLA_ALIGN(attribute.nla_len);
  }
}

int ask(const Request& request, bool all, const Visit& visit) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd) throw_errno("ask the kernel about Unix sockets");
  if (::send(fd.get(), &request, sizeof request, 0) < 0) throw_errno("ask the kernel about Unix sockets");
  std::vector<char> answer(kAnswerBytes);
  for (;;) {
    ssize_t got = ::recv(fd.get(), answer.data(), answer.size(), 0);
    if (got < 0) throw_errno("read the kernel's answer about Unix sockets");
    std::size_t offset = 0;
    while (offset + sizeof(nlmsghdr) <= static_cast<std::size_t>(got)) {
      const char* message = answer.data() + offset;
      auto header = value_at<nlmsghdr>(message);
      if (header.nlmsg_type == NLMSG_DONE) return 0;
      if (header.nlmsg_type == NLMSG_ERROR) return -value_at<nlmsgerr>(message + NLMSG_HDRLEN).error;
      visit_attributes(header, message, visit);
      offset += NLMSG_ALIGN(header.nlmsg_len);
    }
    if (!all) return 0;
  }
}

void take(UnixSocketInfo& info, std::uint16_t type, std::span<const char> value) {
  switch (type) {
    case UNIX_DIAG_PEER:
      info.peer = value_at<std::uint32_t>(value.data());
      break;
    case UNIX_DIAG_VFS:
      info.file_inode = value_at<unix_diag_vfs>(value.data()).udiag_vfs_ino;
      break;
    case UNIX_DIAG_ICONS:
      for (std::size_t i = 0; i + sizeof(std::uint32_t) <= value.size(); i += sizeof(std::uint32_t))
        info.waiting.push_back(value_at<std::uint32_t>(value.data() + i));
      break;
    case UNIX_DIAG_RQLEN:
      info.backlog = value_at<unix_diag_rqlen>(value.data()).udiag_wqueue;
      break;
    case UNIX_DIAG_SHUTDOWN:
      info.shutdown = static_cast<std::uint8_t>(value.front());
      break;
    default:
      break;
  }
}

}  // namespace

std::optional<UnixSocketInfo> unix_socket_info(std::uint64_t inode) {
  UnixSocketInfo info;
  constexpr std::uint32_t kShow =
      UDIAG_SHOW_NAME | UDIAG_SHOW_VFS | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  int problem = ask(request_for(inode, false, kShow), false,
                    [&](const unix_diag_msg&, std::uint16_t type, std::span<const char> value) {
                      take(info, type, value);
                    });
  if (problem == ENOENT) return std::nullopt;
  if (problem != 0) throw_errno("ask the kernel about a Unix socket", problem);
  return info;
}

// A filesystem may tell stat() of another device than the kernel's own.
bool is_bound_to_file(const std::string& path, const struct stat& file) {
  bool found = false;
  std::string name;
  int problem =
      ask(request_for(0, true, UDIAG_SHOW_NAME | UDIAG_SHOW_VFS), true,
          [&](const unix_diag_msg&, std::uint16_t type, std::span<const char> value) {
            if (type == UNIX_DIAG_NAME) name.assign(value.begin(), value.end());
            if (type != UNIX_DIAG_VFS) return;
            auto bound = value_at<unix_diag_vfs>(value.data());
            bool same_file = bound.udiag_vfs_ino == static_cast<std::uint32_t>(file.st_ino);
            bool same_name = name.substr(0, name.find('\0')) == path;
            found = found || (same_file && (same_name || parse_device(bound.udiag_vfs_dev) == file.st_dev));
          });
  if (problem != 0) throw_errno("ask the kernel about all Unix sockets", problem);
  return found;
}

}  // namespace ckpt::engine::resource
