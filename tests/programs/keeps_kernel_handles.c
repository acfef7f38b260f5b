// inotify instances watch what they watched, pidfds mean the program and its threads, files of /proc and /sys
// are open as they were, and a file that never had a name can still be given one. Takes a directory to make.
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "target.h"

enum { kFirstWatch = 3, kThreadFlag = O_EXCL /* PIDFD_THREAD */ };

static struct {
  char directory[256], file[300];
  int watcher, directory_watch, once_watch, file_watch;
  int self, thread, ended;
  int maps, task, limits, system, parameter;
  int nameless;
  int packets;  // -1 where it is not permitted
  pid_t tid;
} all;

static void* stay(void* unused) {
  __atomic_store_n(&all.tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
  for (;;) pause();
  return unused;
}

static void set_up_watches(void) {
  all.watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  target_require(all.watcher >= 0, "inotify_init1");
  // Numbers that are not the first ones.
  for (int i = 1; i < kFirstWatch; i++) {
    target_require(inotify_rm_watch(all.watcher, inotify_add_watch(all.watcher, "/", IN_CREATE)) == 0,
                   "watch");
  }
  all.directory_watch = inotify_add_watch(all.watcher, all.directory, IN_CREATE | IN_DELETE | IN_ONLYDIR);
  all.file_watch = inotify_add_watch(all.watcher, all.file, IN_MODIFY);
  all.once_watch = inotify_add_watch(all.watcher, "/tmp", IN_DELETE_SELF | IN_ONESHOT);
  char ignored[4096];  // IN_IGNORED of those that were removed
  while (read(all.watcher, ignored, sizeof ignored) > 0) continue;
  target_require(all.directory_watch >= kFirstWatch && all.file_watch >= 0 && all.once_watch >= 0,
                 "inotify_add_watch");
}

static void set_up_processes(void) {
  all.self = (int)syscall(SYS_pidfd_open, getpid(), O_NONBLOCK);
  pid_t child = fork();
  if (child == 0) _exit(0);
  all.ended = (int)syscall(SYS_pidfd_open, child, 0);
  target_require(all.self >= 0 && all.ended >= 0 && waitpid(child, NULL, 0) == child, "pidfd_open");
  pthread_t thread;
  target_require(pthread_create(&thread, NULL, stay, NULL) == 0, "pthread_create");
  while (__atomic_load_n(&all.tid, __ATOMIC_SEQ_CST) == 0) target_sleep_ms(1);
  all.thread = (int)syscall(SYS_pidfd_open, all.tid, kThreadFlag);  // Linux 6.9
  target_require(all.thread >= 0 || errno == EINVAL, "pidfd_open of a thread");
}

static void set_up_files(void) {
  char path[64];
  char line[8];
  snprintf(path, sizeof path, "/proc/self/task/%d/comm", all.tid);
  all.maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  all.task = open(path, O_RDONLY);
  all.limits = open("/proc/self/limits", O_RDONLY);
  all.system = open("/proc/version", O_RDONLY);
  all.parameter = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
  all.nameless = open(all.directory, O_TMPFILE | O_RDWR, 0640);
  target_require(all.maps >= 0 && all.task >= 0 && all.limits >= 0 && all.system >= 0 && all.parameter >= 0,
                 "files of the kernel");
  target_require(all.nameless >= 0 && write(all.nameless, "nameless", 8) == 8, "O_TMPFILE");
  target_require(read(all.system, line, 6) == 6, "read");
}

static void set_up_packets(void) {
  all.packets = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_LOOP));
  struct sockaddr_ll where = {.sll_family = AF_PACKET, .sll_protocol = (uint16_t)htons(ETH_P_LOOP)};
  where.sll_ifindex = (int)if_nametoindex("lo");
  if (all.packets < 0) return;
  target_require(bind(all.packets, (struct sockaddr*)&where, sizeof where) == 0, "bind a packet socket");
}

static void check_packets(void) {
  struct sockaddr_ll where = {.sll_family = 0};
  socklen_t length = sizeof where;
  if (all.packets < 0) return;
  target_check_number("packet socket", getsockname(all.packets, (struct sockaddr*)&where, &length), 0);
  target_check_number("its family", where.sll_family, AF_PACKET);
  target_check_number("its protocol", where.sll_protocol, htons(ETH_P_LOOP));
  target_check_number("its interface", where.sll_ifindex, if_nametoindex("lo"));
}

static int next_event(struct inotify_event* event) {
  union {
    struct inotify_event event;
    char room[sizeof(struct inotify_event) + NAME_MAX + 1];
  } buffer;
  if (read(all.watcher, &buffer, sizeof buffer) <= 0) return 0;
  *event = buffer.event;
  return 1;
}

// Only a restored program is told that something may have been missed.
static void skip_overflow(void) {
  struct inotify_event event;
  while (next_event(&event)) {
    bool expected = (event.mask & IN_Q_OVERFLOW) != 0 && event.wd == -1;
    if (!expected) target_differs("event 0x%x of watch %d when nothing happened", event.mask, event.wd);
  }
}

static void expect_event(const char* what, uint32_t mask, int watch) {
  struct inotify_event event = {0};
  if (!next_event(&event)) {
    target_differs("no event when %s", what);
    return;
  }
  target_check_number(what, event.mask, mask);
  target_check_number("watch of that event", event.wd, watch);
}

static void check_watches(void) {
  char path[400];
  snprintf(path, sizeof path, "%s/new", all.directory);
  skip_overflow();
  int made = open(path, O_CREAT | O_WRONLY, 0600);
  target_require(made >= 0, path);
  close(made);
  expect_event("a file was made", IN_CREATE, all.directory_watch);
  target_require(unlink(path) == 0, path);
  expect_event("a file was removed", IN_DELETE, all.directory_watch);
  target_require(truncate(all.file, 5) == 0, all.file);
  expect_event("a file was changed", IN_MODIFY, all.file_watch);
  target_check_number("watch that is there already",
                      inotify_add_watch(all.watcher, "/tmp", IN_DELETE_SELF | IN_ONESHOT), all.once_watch);
  target_check_number("removing a watch", inotify_rm_watch(all.watcher, all.once_watch), 0);
  int next = inotify_add_watch(all.watcher, "/", IN_DELETE_SELF);
  if (next <= all.once_watch) target_differs("a new watch got number %d", next);
}

static void check_processes(void) {
  struct pollfd polled[] = {{all.self, POLLIN, 0}, {all.ended, POLLIN, 0}, {all.thread, POLLIN, 0}};
  target_check_number("poll of pidfds", poll(polled, 3, 0), 1);
  target_check_number("poll of the pidfd of an ended process", polled[1].revents & POLLIN, POLLIN);
  target_check_number("signal to itself", syscall(SYS_pidfd_send_signal, all.self, 0, NULL, 0), 0);
  target_check_number("flags of the pidfd", fcntl(all.self, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  target_check_number("signal to the ended", syscall(SYS_pidfd_send_signal, all.ended, 0, NULL, 0), -1);
  target_check_number("why not", errno, ESRCH);
  if (all.thread >= 0)
    target_check_number("signal to a thread", syscall(SYS_pidfd_send_signal, all.thread, 0, NULL, 0), 0);
}

static void check_maps(void) {
  static char text[1 << 16];
  size_t length = 0;
  for (ssize_t got; (got = read(all.maps, text + length, sizeof text - 1 - length)) > 0;)
    length += (size_t)got;
  if (strstr(text, "keeps_kernel_handles") == NULL) target_differs("/proc/self/maps shows another program");
  target_check_number("close-on-exec of /proc/self/maps", fcntl(all.maps, F_GETFD), FD_CLOEXEC);
}

static void check_files(void) {
  char text[64] = {0};
  check_maps();
  target_check_number("read of a thread's name", read(all.task, text, sizeof text - 1) > 0, 1);
  target_check_string("name of the thread", text, "keeps_kernel_ha\n");
  target_check_number("read of limits", read(all.limits, text, 5), 5);
  target_check_bytes("limits", text, "Limit", 5);
  target_check_number("read of the version", read(all.system, text, 7), 7);
  target_check_bytes("where it went on", text, "version", 7);
  target_check_number("read of a parameter", read(all.parameter, text, sizeof text) > 0, 1);

  char path[400];
  char link[64];
  snprintf(path, sizeof path, "%s/named", all.directory);
  snprintf(link, sizeof link, "/proc/self/fd/%d", all.nameless);
  target_check_number("offset of the nameless file", lseek(all.nameless, 0, SEEK_CUR), 8);
  target_check_number("giving it a name", linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW), 0);
  int named = open(path, O_RDONLY);
  target_check_number("read by its name", named >= 0 && read(named, text, 8) == 8, 1);
  target_check_bytes("content", text, "nameless", 8);
  unlink(path);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3 && mkdir(argv[1], 0700) == 0 && realpath(argv[1], all.directory) != NULL,
                 "needs a directory to make");
  snprintf(all.file, sizeof all.file, "%s/file", all.directory);
  target_require(close(open(all.file, O_CREAT | O_WRONLY, 0600)) == 0, all.file);
  set_up_watches();
  set_up_processes();
  set_up_files();
  set_up_packets();
  skip_overflow();

  target_ready();
  target_wait(go_file);

  check_packets();
  check_watches();
  check_processes();
  check_files();
  return target_finish();
}
