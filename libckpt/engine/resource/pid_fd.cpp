// Pidfds (pidfd_open(2)) of the program, its relatives, their threads, and of processes that have ended:
// those of others lead outside.
#include "engine/resource/pid_fd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>

#include "base/error.h"
#include "base/parse.h"
#include "base/pidfd.h"
#include "base/thread_list.h"
#include "engine/resource/finishing.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr int kThread = O_EXCL;  // PIDFD_THREAD

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[pidfd]" || description.link.starts_with("pidfd:");
}

// "Pid:\t-1" once the process has ended and was waited for, "0" if it is of another namespace.
pid_t process_of(const OpenDescription& description) {
  std::string_view text = description.info_field("Pid");
  pid_t pid = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(fmt::format("the kernel does not tell the process of {}", description.what()));
  }
  return pid;
}

// The last of "NSpid:\t123 45": the id that the program sees.
std::int32_t innermost_id(const OpenDescription& description) {
  return static_cast<std::int32_t>(parse_unsigned(last_word(description.info_field("NSpid"))).value_or(0));
}

bool is_in_family(const SaveState& state, pid_t id) {
  return std::ranges::any_of(state.together.processes, [id](pid_t pid) { return has_thread(pid, id); });
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::PidFdDetailT detail;
  pid_t pid = process_of(description);
  detail.thread = (description.flags & kThread) != 0;
  if (pid == -1) return as_detail(detail);
  if (!is_in_family(state, pid)) {
    throw Error(
        fmt::format("descriptor {} is a pidfd of process {}, which is not part of the checkpoint; close it "
                    "before the checkpoint",
                    description.number(), pid));
  }
  detail.id = innermost_id(description);
  return as_detail(detail);
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

// Made here and now: a process that ends at once, unnoticed by whoever traces us, and by our own handling of
// children.
UniqueFd make_ended() {
  int fd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | CLONE_UNTRACED;
  arguments.pidfd = reinterpret_cast<std::uint64_t>(&fd);
  long child = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (child == 0) ::_exit(0);
  if (child < 0) throw_errno("make a process that ends");
  UniqueFd pidfd(fd);
  if (::waitpid(static_cast<pid_t>(child), nullptr, __WALL) != child) throw_errno("wait for a process");
  return pidfd;
}

// Threads and relatives do not exist yet; the program stands in for them until they do.
UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  if (description.detail.AsPidFdDetail()->id == 0) return make_ended();
  UniqueFd fd = open_pidfd(::getpid());
  if (!fd) throw_errno("make a pidfd of the program");
  return fd;
}

void finish(FinishState& state, const image::DescriptionT& description,
            const std::vector<const image::DescriptorT*>& numbers) {
  const image::PidFdDetailT& detail = *description.detail.AsPidFdDetail();
  if (detail.id == 0 || (!detail.thread && detail.id == state.program_id)) return;
  auto tid = static_cast<std::uint64_t>(state.program.current_tid(detail.id));
  std::uint64_t flags = description.status_flags & static_cast<unsigned>(kThread | O_NONBLOCK);
  std::int64_t fd =
      call_or_throw(state.program, fmt::format("make a pidfd of {}", tid), SYS_pidfd_open, {tid, flags});
  put_at_numbers(state.program, fd, numbers);
}

}  // namespace

bool is_made_late(const SaveState& state, const OpenDescription& description) {
  return matches(state, description) && process_of(description) != state.together.program &&
         process_of(description) != -1;
}

const ResourceKind kPidFd{
    "pidfd", image::DescriptionDetail::PidFdDetail, O_NONBLOCK, matches, save, check, restore, nullptr,
    finish};

}  // namespace ckpt::engine::resource
