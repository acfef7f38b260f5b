#include "engine/resource/socket/kernel_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/socket/address.h"
#include "engine/resource/socket/options.h"

namespace ckpt::engine::resource {
namespace {

using KernelDetail = image::KernelSocketDetailT;

constexpr std::uint32_t kWordBits = 32;

SocketSort saved_sort(const KernelDetail& detail) {
  return {.family = detail.family, .type = detail.type, .protocol = detail.protocol};
}

bool matches(const SaveState& state, const OpenDescription& description) {
  std::optional<SocketSort> sort = state.socket_sort_of(description);
  return sort && (sort->family == AF_NETLINK || sort->family == AF_PACKET);
}

template <typename Address>
Address as(const SocketAddress& address) {
  Address result{};
  std::memcpy(&result, address.get(), std::min<std::size_t>(sizeof result, address.size()));
  return result;
}

std::vector<std::uint32_t> groups_of(int fd) {
  std::array<std::uint32_t, 64> words{};
  socklen_t length = sizeof words;
  if (::getsockopt(fd, kSolNetlink, NETLINK_LIST_MEMBERSHIPS, words.data(), &length) != 0)
    throw_errno("read the groups of a netlink socket");
  std::vector<std::uint32_t> groups;
  for (std::uint32_t i = 0; i < words.size() * kWordBits; ++i) {
    if ((words.at(i / kWordBits) >> (i % kWordBits) & 1U) != 0) groups.push_back(i + 1);
  }
  return groups;
}

bool has_something_waiting(int fd) { return (poll_now(fd, POLLIN) & POLLIN) != 0; }

// Somebody waits for the answer to a request, which no kernel will give after a restore; of what is only
// reported to all, some may be missed as with any such socket.
void save_netlink(SaveState& state, int fd, const OpenDescription& description, KernelDetail& detail) {
  detail.groups = groups_of(fd);
  if (!has_something_waiting(fd)) return;
  if (detail.groups.empty()) {
    throw Error(fmt::format("{} holds an answer of the kernel that the program has not read; try again later",
                            description.what()));
  }
  state.context.notes.push_back(
      fmt::format("messages waiting in {} (netlink) are not saved", description.what()));
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  UniqueFd copy = copy_descriptor(description);
  SocketSort sort = *state.socket_sort_of(description);
  SocketAddress local = SocketAddress::local_of(copy.get());
  if (sort.family == AF_PACKET) sort.protocol = as<sockaddr_ll>(local).sll_protocol;
  KernelDetail detail;
  detail.inode = description.status.st_ino;
  detail.family = sort.family;
  detail.type = sort.type;
  detail.protocol = sort.protocol;
  detail.options = save_options(copy.get(), sort, false, state.socket_defaults, state.context.notes);
  bool bound = true;
  if (sort.family == AF_NETLINK) {
    save_netlink(state, copy.get(), description, detail);
    bound = as<sockaddr_nl>(local).nl_pid != 0;
    if (auto peer = SocketAddress::peer_of(copy.get())) detail.peer = peer->bytes();
  }
  if (bound) detail.local = local.bytes();
  return as_detail(std::move(detail));
}

// The kernel gives another port where the old one is taken; nobody else addresses it.
void bind_netlink(int fd, const KernelDetail& detail) {
  SocketAddress local(detail.local);
  if (!local.empty() && ::bind(fd, local.get(), local.size()) != 0) {
    sockaddr_nl any{};
    any.nl_family = AF_NETLINK;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any) != 0)
      throw_errno("bind a netlink socket again");
  }
  for (std::uint32_t group : detail.groups) {
    if (::setsockopt(fd, kSolNetlink, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      throw_errno(fmt::format("join group {} of a netlink socket again", group));
  }
  SocketAddress peer(detail.peer);
  if (!peer.empty() && as<sockaddr_nl>(peer).nl_pid != 0 && ::connect(fd, peer.get(), peer.size()) != 0)
    throw_errno("connect a netlink socket again");
}

UniqueFd make_again(const KernelDetail& detail) {
  UniqueFd fd = make_socket(saved_sort(detail));
  set_options(fd.get(), detail.options);
  if (detail.family == AF_NETLINK) {
    bind_netlink(fd.get(), detail);
  } else {
    // The kernel tells no more of it than there is, and takes nothing but the whole.
    auto local = as<sockaddr_ll>(SocketAddress(detail.local));
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&local), sizeof local) != 0)
      throw_errno("bind a packet socket again");
  }
  return fd;
}

std::string check(CheckState&, const image::DescriptionT& description) try {
  make_again(*description.detail.AsKernelSocketDetail());
  return {};
} catch (const Error& error) {
  return error.what();
}

UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  return make_again(*description.detail.AsKernelSocketDetail());
}

}  // namespace

const ResourceKind kKernelSocket{"netlink or packet socket",
                                 image::DescriptionDetail::KernelSocketDetail,
                                 O_NONBLOCK | O_ASYNC | O_APPEND,
                                 matches,
                                 save,
                                 check,
                                 restore};

}  // namespace ckpt::engine::resource
