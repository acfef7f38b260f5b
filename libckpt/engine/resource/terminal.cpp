// Terminals that the program opened itself and that ckptrun's 0, 1, 2 do not lead to (those are inherited):
// slaves of pseudo-terminals that it runs, and terminals outside.
#include "engine/resource/terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/resource/pty_master.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr const char* kControllingTerminal = "/dev/tty";

// The master of a pseudo-terminal answers like a terminal but is something else: the program runs the
// terminal.
bool is_master(dev_t device) { return device == makedev(5, 2); }

bool matches(const SaveState& /*state*/, const OpenDescription& description) {
  if (!S_ISCHR(description.status.st_mode) || is_master(description.status.st_rdev)) return false;
  if (description.access_mode() < 0) return false;
  return ::isatty(copy_descriptor(description).get()) != 0;
}

bool is_terminal(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  return fd && ::isatty(fd.get()) != 0;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::TerminalDetailT detail;
  detail.path = description.link;
  dev_t controlling = controlling_terminal(state.context.pid);
  detail.controlling = description.link == kControllingTerminal || description.status.st_rdev == controlling;
  detail.pty = pty_inside(state, detail.controlling ? controlling : description.status.st_rdev).value_or(-1);
  if (detail.pty >= 0) return as_detail(std::move(detail));
  struct stat named {};
  bool named_so =
      ::stat(description.link.c_str(), &named) == 0 && named.st_rdev == description.status.st_rdev;
  if (!named_so && !detail.controlling) {
    throw Error(fmt::format(
        "descriptor {} is a terminal that has no path any more ({}); close it before the checkpoint",
        description.number(), description.link));
  }
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT& description) {
  const image::TerminalDetailT& detail = *description.detail.AsTerminalDetail();
  if (detail.pty >= 0) return {};
  if (is_terminal(detail.path) || is_terminal(kControllingTerminal)) return {};
  if (::isatty(0) != 0 || ::isatty(1) != 0 || ::isatty(2) != 0) return {};
  return fmt::format("terminal {} is gone and ckptrun has none", detail.path);
}

UniqueFd open_terminal(const std::string& path, const image::DescriptionT& description) {
  if (!is_terminal(path)) return {};
  return open_again(path, description);
}

// The session's terminal follows the new session; another one is looked for by its path first.
UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::TerminalDetailT& detail = *description.detail.AsTerminalDetail();
  if (detail.pty >= 0)
    return open_slave(restored_master(state, detail.pty), static_cast<int>(reopen_flags(description)));
  UniqueFd fd = open_terminal(detail.controlling ? kControllingTerminal : detail.path, description);
  if (fd) return fd;
  for (const UniqueFd& own : state.inherited) {
    if (own && ::isatty(own.get()) != 0) return reopen_own(own.get(), description);
  }
  fd = open_terminal(detail.controlling ? detail.path : kControllingTerminal, description);
  if (!fd)
    throw Error(fmt::format("terminal {} is gone and ckptrun has none; recover in a terminal", detail.path));
  return fd;
}

}  // namespace

const ResourceKind kTerminal{
    "terminal", image::DescriptionDetail::TerminalDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
