#include "engine/resource/unsupported.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

struct Name {
  std::string_view key;
  std::string_view text;
};

constexpr std::array<Name, 16> kNames{{{"anon_inode:[fanotify]", "a fanotify group"},
                                       {"anon_inode:[userfaultfd]", "a userfaultfd"},
                                       {"anon_inode:[perf_event]", "a performance counter"},
                                       {"anon_inode:bpf", "a BPF object"},
                                       {"anon_inode:seccomp notify", "a listener of a seccomp filter"},
                                       {"anon_inode:[landlock", "a Landlock rule set"},
                                       {"anon_inode:kvm", "a virtual machine of KVM"},
                                       {"anon_inode:sync_file", "a fence of a GPU"},
                                       {"anon_inode:[fscontext]", "a mount being made"},
                                       {"/dmabuf:", "a buffer shared with a device (DMA-buf)"},
                                       {"/secretmem", "secret memory"},
                                       {"/dev/dri/", "a GPU"},
                                       {"/dev/nvidia", "a GPU"},
                                       {"/dev/kfd", "a GPU"},
                                       {"/dev/fuse", "a connection to a FUSE filesystem"},
                                       {"/dev/net/tun", "a TUN/TAP network interface"}}};

std::string format_address(const sockaddr_storage& address, socklen_t length) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    sockaddr_in inet{};
    std::memcpy(&inet, &address, sizeof inet);
    ::inet_ntop(AF_INET, &inet.sin_addr, text.data(), text.size());
    return fmt::format("{}:{}", text.data(), ntohs(inet.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 inet{};
    std::memcpy(&inet, &address, sizeof inet);
    ::inet_ntop(AF_INET6, &inet.sin6_addr, text.data(), text.size());
    return fmt::format("[{}]:{}", text.data(), ntohs(inet.sin6_port));
  }
  if (address.ss_family != AF_UNIX || length <= sizeof(sa_family_t)) return "unnamed";
  sockaddr_un local{};
  std::memcpy(&local, &address, std::min<std::size_t>(sizeof local, length));
  std::string path(local.sun_path, length - sizeof(sa_family_t));
  if (path.front() == '\0') return "@" + path.substr(1);
  return path.substr(0, path.find('\0'));
}

int socket_option(int fd, int option) {
  int value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, option, &value, &length) != 0) throw_errno("look at a socket");
  return value;
}

std::string_view socket_type(int family, int type) {
  if (family == AF_UNIX) {
    if (type == SOCK_STREAM) return "UNIX stream";
    return type == SOCK_DGRAM ? "UNIX datagram" : "UNIX packet";
  }
  if (family == AF_INET || family == AF_INET6) {
    if (type == SOCK_STREAM) return "TCP";
    return type == SOCK_DGRAM ? "UDP" : "raw IP";
  }
  return family == AF_NETLINK ? "netlink" : "other";
}

std::string describe_socket(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  int family = socket_option(fd, SO_DOMAIN);
  std::string text = fmt::format("a {} socket", socket_type(family, socket_option(fd, SO_TYPE)));
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (::getsockname(fd, generic, &length) == 0) text += " " + format_address(address, length);
  if (socket_option(fd, SO_ACCEPTCONN) != 0) return text + " (listening)";
  address = {};
  length = sizeof address;
  if (::getpeername(fd, generic, &length) == 0) text += " -> " + format_address(address, length);
  return text;
}

std::string describe(const SaveState& state, const OpenDescription& description) {
  const auto& status = description.status;
  if (S_ISSOCK(status.st_mode) && description.access_mode() >= 0) {
    return describe_socket(copy_descriptor(state.pidfd, description.number()).get());
  }
  for (const Name& name : kNames) {
    if (description.link.starts_with(name.key)) return fmt::format("{} ({})", name.text, description.link);
  }
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    return fmt::format("the {} device {} ({}:{})", S_ISCHR(status.st_mode) ? "character" : "block",
                       description.link, major(status.st_rdev), minor(status.st_rdev));
  }
  return description.link;
}

}  // namespace

void refuse_unsupported(const SaveState& state, const OpenDescription& description) {
  throw Error(fmt::format(
      "descriptor {} is {}, which cannot be saved yet; close it before the checkpoint, or run the "
      "program without checkpoints",
      description.number(), describe(state, description)));
}

}  // namespace ckpt::engine::resource
