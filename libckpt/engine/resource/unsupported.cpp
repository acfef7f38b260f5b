#include "engine/resource/unsupported.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#include <array>

#include "base/error.h"
#include "engine/resource/socket/address.h"
#include "engine/resource/socket/options.h"

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

std::string describe_socket(int fd) {
  std::string text = fmt::format("a {} {}", describe_sort(sort_of(fd)), SocketAddress::local_of(fd).text());
  if (int_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 0) return text + " (listening)";
  if (auto peer = SocketAddress::peer_of(fd)) text += " -> " + peer->text();
  return text;
}

std::string describe(const OpenDescription& description) {
  const auto& status = description.status;
  if (S_ISSOCK(status.st_mode) && description.access_mode() >= 0) {
    return describe_socket(copy_descriptor(description).get());
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
  std::string opener;
  for (const auto& number : description.numbers) {
    if (opener.empty() && state.context.opener)
      opener = state.context.opener(number.number, description.link);
  }
  throw Error(fmt::format(
      "descriptor {} is {}{}{}, which cannot be saved yet; close it before the checkpoint, or run the "
      "program without checkpoints",
      description.number(), describe(description), opener.empty() ? "" : ", opened by ", opener));
}

}  // namespace ckpt::engine::resource
