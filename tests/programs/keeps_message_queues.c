// POSIX message queues keep their messages, order, limits, and who is told of new ones.
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <sys/stat.h>

#include "target.h"

enum { kMessages = 5, kBytes = 32, kNotice = 0x1234567 };

static struct {
  char name[64];
  mqd_t queue, again, unlinked, notifying;
} all;

static mqd_t make_queue(const char* suffix) {
  struct mq_attr attributes = {.mq_maxmsg = 6, .mq_msgsize = kBytes};
  snprintf(all.name, sizeof all.name, "/ckpt-test.%d.%s", getpid(), suffix);
  mqd_t queue = mq_open(all.name, O_CREAT | O_EXCL | O_RDWR | O_NONBLOCK, 0640, &attributes);
  target_require(queue >= 0, "mq_open");
  return queue;
}

static void set_up(void) {
  all.unlinked = make_queue("unlinked");
  target_require(mq_unlink(all.name) == 0 && mq_send(all.unlinked, "nameless", 8, 1) == 0, "mq_unlink");

  all.notifying = make_queue("notifying");
  target_require(mq_unlink(all.name) == 0, "mq_unlink");
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 4);
  sigprocmask(SIG_BLOCK, &set, NULL);
  struct sigevent event = {
      .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 4, .sigev_value.sival_int = kNotice};
  target_require(mq_notify(all.notifying, &event) == 0, "mq_notify");

  all.queue = make_queue("named");
  for (unsigned i = 0; i < kMessages; i++) {
    char text[kBytes];
    int length = snprintf(text, sizeof text, "message %u", i);
    target_require(mq_send(all.queue, text, (size_t)length, i % 2) == 0, "mq_send");
  }
  all.again = mq_open(all.name, O_RDONLY | O_CLOEXEC);
  target_require(all.again >= 0 && fcntl(all.again, F_SETFD, 0) == 0, "mq_open again");
}

static void expect_message(mqd_t queue, const char* expected, unsigned expected_priority) {
  char text[kBytes + 1] = {0};
  unsigned priority = 99;
  if (mq_receive(queue, text, kBytes, &priority) < 0) target_differs("no message: %s", strerror(errno));
  target_check_string("message", text, expected);
  target_check_number("priority", priority, expected_priority);
}

static void check_queue(void) {
  struct mq_attr attributes;
  struct stat status;
  target_check_number("mq_getattr", mq_getattr(all.queue, &attributes), 0);
  target_check_number("most messages", attributes.mq_maxmsg, 6);
  target_check_number("longest message", attributes.mq_msgsize, kBytes);
  target_check_number("messages", attributes.mq_curmsgs, kMessages);
  target_check_number("flags", attributes.mq_flags, O_NONBLOCK);
  target_check_number("mode", fstat(all.queue, &status) == 0 ? status.st_mode & 0777 : 0, 0640);
  target_check_number("flags of a queue that was close-on-exec", fcntl(all.again, F_GETFD), 0);
  target_check_number("send to a queue that is open for reading", mq_send(all.again, "x", 1, 0), -1);
  expect_message(all.queue, "message 1", 1);
  expect_message(all.again, "message 3", 1);
  expect_message(all.queue, "message 0", 0);
  expect_message(all.queue, "message 2", 0);
  expect_message(all.queue, "message 4", 0);
  target_check_number("mq_unlink", mq_unlink(all.name), 0);
  expect_message(all.unlinked, "nameless", 1);
}

static void check_notice(void) {
  sigset_t set;
  siginfo_t info;
  struct timespec none = {0, 0};
  struct sigevent event = {.sigev_notify = SIGEV_NONE};
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN + 4);
  target_check_number("signal before a message", sigtimedwait(&set, &info, &none), -1);
  target_check_number("registering twice", mq_notify(all.notifying, &event), -1);
  target_check_number("mq_send", mq_send(all.notifying, "new", 3, 7), 0);
  target_check_number("signal of a message", sigtimedwait(&set, &info, &none), SIGRTMIN + 4);
  target_check_number("its value", info.si_value.sival_int, kNotice);
  expect_message(all.notifying, "new", 7);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  set_up();

  target_ready();
  target_wait(go_file);

  check_queue();
  check_notice();
  return target_finish();
}
