// What is in a POSIX message queue (mq_overview(7)).
//
// The kernel shows messages to nobody but their receiver: they are received and sent again, which keeps their
// order (by priority, then by age). `fd`: readable, writable, non-blocking, a description of our own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "image_generated.h"

namespace ckpt::engine::resource {

using QueuedMessages = std::vector<std::unique_ptr<image::QueuedMessageT>>;

struct QueueLimits {
  std::int64_t most_messages = 0;
  std::int64_t most_bytes = 0;  // of one message
  std::int64_t count = 0;       // of messages now
};

QueueLimits queue_limits(int fd);
QueuedMessages receive_all(int fd);
void send_all(int fd, const QueuedMessages& messages, const std::string& what);

// Who is told when a message comes to the empty queue, as reading the queue's file shows it.
struct QueueNotice {
  int kind = -1;  // SIGEV_*, -1: nobody
  int signal = 0;
  int pid = 0;
};

// "QSIZE:0          NOTIFY:0     SIGNO:10    NOTIFY_PID:8260"
QueueNotice parse_notice(std::string_view text);

}  // namespace ckpt::engine::resource
