// POSIX message queues: made again if they are gone, and set back to the messages of the checkpoint if not.
//
// A registration for notice (mq_notify(3)) ends when it is served, and what value it sends shows only then.
// So it is served while the program is stopped, the signal is taken back, and the program registers again.
#include "engine/resource/message_queue.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/finishing.h"
#include "engine/resource/open_for_copy.h"
#include "engine/resource/queue_content.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

constexpr decltype(statfs::f_type) kQueueFilesystem = 0x19800202;  // MQUEUE_MAGIC of ipc/mqueue.c
constexpr std::string_view kDeleted = " (deleted)";

bool matches(const SaveState& state, const OpenDescription& description) {
  return S_ISREG(description.status.st_mode) && state.filesystem_of(description) == kQueueFilesystem;
}

std::string_view text_until_zero(std::span<const char> text) {
  return {text.data(), ::strnlen(text.data(), text.size())};
}

QueueNotice read_notice(int fd) {
  std::array<char, 256> text{};
  if (::pread(fd, text.data(), text.size() - 1, 0) < 0) throw_errno("read the state of a message queue");
  return parse_notice(text_until_zero(text));
}

// The signal that notice just sent to the program, which has all signals blocked while it makes calls.
std::uint64_t take_value(ProgramCalls& calls, int signal) {
  struct Room {
    std::uint64_t set;
    timespec at_once;
    siginfo_t info;
  } room{};
  room.set = std::uint64_t{1} << static_cast<unsigned>(signal - 1);
  RemoteAddr place = calls.place(std::as_bytes(std::span(&room, 1)));
  std::int64_t got =
      calls.call(SYS_rt_sigtimedwait, {place.value, (place + offsetof(Room, info)).value,
                                       (place + offsetof(Room, at_once)).value, sizeof(room.set)});
  if (got == -EAGAIN) return 0;  // ignored by the program
  if (got < 0) throw_errno("take back the signal of a message queue", static_cast<int>(-got));
  calls.fetch(place, std::as_writable_bytes(std::span(&room, 1)));
  return reinterpret_cast<std::uint64_t>(room.info.si_value.sival_ptr);
}

void register_notice(ProgramCalls& calls, int number, const image::MessageQueueDetailT& detail) {
  sigevent event{};
  event.sigev_notify = detail.notify;
  event.sigev_signo = detail.notify_signal;
  event.sigev_value.sival_ptr =
      reinterpret_cast<void*>(detail.notify_value);  // NOLINT(performance-no-int-to-ptr)
  RemoteAddr place = calls.place(std::as_bytes(std::span(&event, 1)));
  call_or_throw(calls, "register for notice of a message queue", SYS_mq_notify,
                {static_cast<std::uint64_t>(number), place.value});
}

bool is_pending(pid_t pid, int signal) {
  auto pending = parse_unsigned(status_field(read_file(fmt::format("/proc/{}/status", pid)), "ShdPnd"), 16);
  return (pending.value_or(0) >> static_cast<unsigned>(signal - 1) & 1U) != 0;
}

void look_at_notice(const SaveState& state, const OpenDescription& description, const QueueNotice& notice,
                    image::MessageQueueDetailT& detail) {
  if (notice.kind < 0 || notice.pid != state.context.pid) return;
  bool signals = notice.kind == SIGEV_SIGNAL;
  if ((!signals && notice.kind != SIGEV_NONE) || state.context.calls == nullptr) {
    throw Error(fmt::format(
        "{} notifies the program by a thread (SIGEV_THREAD), which cannot be saved; end that with "
        "mq_notify before the checkpoint",
        description.what()));
  }
  if (signals && is_pending(state.context.pid, notice.signal)) {
    throw Error(
        fmt::format("{} notifies by signal {}, which is pending already; checkpoint again when it was "
                    "delivered",
                    description.what(), notice.signal));
  }
  detail.notify = notice.kind;
  detail.notify_signal = notice.signal;
}

void serve_notice(const SaveState& state, int number, int own, image::MessageQueueDetailT& detail) {
  if (detail.notify < 0) return;
  if (detail.messages.empty()) {
    QueuedMessages message;
    message.push_back(std::make_unique<image::QueuedMessageT>());
    send_all(own, message, detail.name);
    receive_all(own);
  }
  if (detail.notify == SIGEV_SIGNAL)
    detail.notify_value = take_value(*state.context.calls, detail.notify_signal);
  register_notice(*state.context.calls, number, detail);
}

void save_content(SaveState& state, const OpenDescription& description, image::MessageQueueDetailT& detail) {
  UniqueFd own = open_own(description, O_RDWR);
  if (!own) throw_errno(fmt::format("read the messages of {}", description.what()));
  QueueLimits limits = queue_limits(own.get());
  detail.most_messages = limits.most_messages;
  detail.most_bytes = limits.most_bytes;
  bool first =
      state.together.pipes_saved.insert({description.status.st_dev, description.status.st_ino}).second;
  if (!first) return;
  look_at_notice(state, description, read_notice(own.get()), detail);
  if (limits.count == 0 && detail.notify < 0) return;
  detail.messages = receive_all(own.get());
  send_all(own.get(), detail.messages, detail.name);
  serve_notice(state, description.number(), own.get(), detail);
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::MessageQueueDetailT detail;
  detail.has_name = description.status.st_nlink > 0;
  detail.name = description.link;
  if (!detail.has_name && detail.name.ends_with(kDeleted))
    detail.name.resize(detail.name.size() - kDeleted.size());
  detail.inode = description.status.st_ino;
  detail.mode = description.status.st_mode & 07777U;
  detail.uid = description.status.st_uid;
  detail.gid = description.status.st_gid;
  save_content(state, description, detail);
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

UniqueFd create(const image::MessageQueueDetailT& detail, const std::string& name) {
  mq_attr attributes{};
  attributes.mq_maxmsg = detail.most_messages;
  attributes.mq_msgsize = detail.most_bytes;
  UniqueFd queue(
      ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK | O_CLOEXEC, 0600, &attributes));
  if (!queue) return {};
  if (::fchmod(queue.get(), detail.mode) != 0)
    throw_errno(fmt::format("set the mode of message queue {}", name));
  // Without privilege it stays with whoever makes it, who was the one to make it before.
  if (::fchown(queue.get(), detail.uid, detail.gid) != 0 && errno != EPERM && errno != EINVAL)
    throw_errno(fmt::format("give message queue {} to its owner", name));
  return queue;
}

UniqueFd open_existing(const image::MessageQueueDetailT& detail) {
  UniqueFd queue(::mq_open(detail.name.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!queue) throw_errno(fmt::format("open message queue {}", detail.name));
  QueueLimits limits = queue_limits(queue.get());
  if (limits.most_messages != detail.most_messages || limits.most_bytes != detail.most_bytes) {
    throw Error(fmt::format("message queue {} exists with other limits; remove it", detail.name));
  }
  receive_all(queue.get());
  return queue;
}

UniqueFd make_nameless(const image::MessageQueueDetailT& detail) {
  std::string name = fmt::format("/ckpt.{}.{}", ::getpid(), detail.inode);
  UniqueFd queue = create(detail, name);
  int cause = errno;
  ::mq_unlink(name.c_str());
  if (!queue) throw_errno(fmt::format("make message queue {} again", detail.name), cause);
  return queue;
}

UniqueFd make_queue(const image::MessageQueueDetailT& detail) {
  if (!detail.has_name) return make_nameless(detail);
  UniqueFd queue = create(detail, detail.name);
  if (!queue && errno != EEXIST) throw_errno(fmt::format("make message queue {} again", detail.name));
  return queue ? std::move(queue) : open_existing(detail);
}

// The first of several descriptions has the messages.
UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::MessageQueueDetailT& detail = *description.detail.AsMessageQueueDetail();
  auto found = state.queues.find(detail.inode);
  if (found == state.queues.end()) {
    UniqueFd queue = state.lift(make_queue(detail));
    send_all(queue.get(), detail.messages, detail.name);
    found = state.queues.emplace(detail.inode, std::move(queue)).first;
  }
  return reopen_own(found->second.get(), description);
}

void finish(FinishState& state, const image::DescriptionT& description,
            const std::vector<const image::DescriptorT*>& numbers) {
  const image::MessageQueueDetailT& detail = *description.detail.AsMessageQueueDetail();
  if (detail.notify >= 0) register_notice(state.program, numbers.front()->number, detail);
}

}  // namespace

const ResourceKind kMessageQueue{"message queue",
                                 image::DescriptionDetail::MessageQueueDetail,
                                 O_NONBLOCK,
                                 matches,
                                 save,
                                 check,
                                 restore,
                                 nullptr,
                                 finish};

}  // namespace ckpt::engine::resource
