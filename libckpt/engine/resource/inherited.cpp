// What the program shares with ckptrun (its 0, 1, 2) belongs to the session, not to the program: after
// recover it follows the new ckptrun, whatever its 0, 1, 2 are then.
#include "engine/resource/inherited.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

bool same_inode(const struct stat& left, const struct stat& right) {
  return left.st_dev == right.st_dev && left.st_ino == right.st_ino;
}

// The same pipe or terminal, opened once more (/dev/stdout, /dev/pts/N): the other end is outside just the
// same.
bool same_stream(const OpenDescription& description, int own, const struct stat& own_status) {
  if (S_ISFIFO(own_status.st_mode)) {
    return same_inode(description.status, own_status) && description.link.starts_with("pipe:");
  }
  return S_ISCHR(own_status.st_mode) && S_ISCHR(description.status.st_mode) &&
         description.status.st_rdev == own_status.st_rdev && ::isatty(own) != 0;
}

std::optional<image::InheritedDetailT> find_inherited(const SaveState& state,
                                                      const OpenDescription& description) {
  std::optional<image::InheritedDetailT> reopened;
  for (int own = 0; own <= 2; ++own) {
    const std::optional<struct stat>& own_status = state.own_streams.at(static_cast<std::size_t>(own));
    if (!own_status) continue;  // closed: nothing can share it
    image::InheritedDetailT detail;
    detail.number = own;
    if (same_inode(description.status, *own_status) &&
        same_description(state.context.pid, description.number(), own)) {
      return detail;
    }
    if (!reopened && same_stream(description, own, *own_status)) {
      detail.reopened = true;
      reopened = detail;
    }
  }
  return reopened;
}

bool matches(const SaveState& state, const OpenDescription& description) {
  return find_inherited(state, description).has_value();
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  return as_detail(find_inherited(state, description).value());
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

bool can_be_opened_again(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) throw_errno("stat an inherited descriptor");
  return S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::InheritedDetailT& detail = *description.detail.AsInheritedDetail();
  if (detail.number < 0 || detail.number > 2) {
    throw Error(
        fmt::format("inherited descriptor {} is not 0, 1 or 2; the checkpoint is damaged", detail.number));
  }
  const UniqueFd& own = state.inherited.at(static_cast<std::size_t>(detail.number));
  if (!own) return open_or_throw("/dev/null", O_RDWR);
  if (detail.reopened && can_be_opened_again(own.get())) return reopen_own(own.get(), description);
  return duplicate(own.get(), fmt::format("descriptor {} of ckptrun", detail.number));
}

// Non-blocking mode is only ever added: the description is also the session's, and a program that did not ask
// for it is served as it would be if it were started there.
void connect(RestoreState&, const image::DescriptionT& description, int number) {
  int wanted = static_cast<int>(description.status_flags) & O_NONBLOCK;
  int current = ::fcntl(number, F_GETFL);
  if (current < 0) throw_errno("read the status flags of an inherited descriptor");
  if ((current | wanted) == current) return;
  if (::fcntl(number, F_SETFL, current | wanted) < 0) {
    throw_errno("set the status flags of an inherited descriptor");
  }
}

}  // namespace

const ResourceKind kInherited{"descriptor of ckptrun",
                              image::DescriptionDetail::InheritedDetail,
                              0,
                              matches,
                              save,
                              check,
                              restore,
                              connect};

}  // namespace ckpt::engine::resource
