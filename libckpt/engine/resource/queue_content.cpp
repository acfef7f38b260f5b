#include "engine/resource/queue_content.h"

#include <fmt/format.h>
#include <mqueue.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "engine/resource/fdinfo_lines.h"

namespace ckpt::engine::resource {

QueueLimits queue_limits(int fd) {
  mq_attr attributes{};
  if (::mq_getattr(fd, &attributes) != 0) throw_errno("read the attributes of a message queue");
  return {.most_messages = attributes.mq_maxmsg,
          .most_bytes = attributes.mq_msgsize,
          .count = attributes.mq_curmsgs};
}

QueuedMessages receive_all(int fd) {
  QueuedMessages messages;
  std::vector<std::uint8_t> room(static_cast<std::size_t>(queue_limits(fd).most_bytes));
  for (;;) {
    unsigned priority = 0;
    ssize_t got = ::mq_receive(fd, reinterpret_cast<char*>(room.data()), room.size(), &priority);
    if (got < 0 && errno == EAGAIN) return messages;
    if (got < 0) throw_errno("receive what waits in a message queue");
    auto message = std::make_unique<image::QueuedMessageT>();
    message->kind = priority;
    message->content.assign(room.begin(), room.begin() + got);
    messages.push_back(std::move(message));
  }
}

void send_all(int fd, const QueuedMessages& messages, const std::string& what) {
  for (const auto& message : messages) {
    if (::mq_send(fd, reinterpret_cast<const char*>(message->content.data()), message->content.size(),
                  static_cast<unsigned>(message->kind)) != 0)
      throw_errno(fmt::format("send the messages of {} again", what));
  }
}

QueueNotice parse_notice(std::string_view text) {
  auto pid = value_after(text, "NOTIFY_PID:", 10);
  auto kind = value_after(text, "NOTIFY:", 10);
  auto signal = value_after(text, "SIGNO:", 10);
  if (!pid || !kind || !signal) throw Error(fmt::format("the kernel describes a message queue as {}", text));
  if (*pid == 0) return {};
  return {
      .kind = static_cast<int>(*kind), .signal = static_cast<int>(*signal), .pid = static_cast<int>(*pid)};
}

}  // namespace ckpt::engine::resource
