// Pseudo-terminals that the program runs keep their modes, window sizes, lines and bytes under way, and the
// one that is its controlling terminal stays that.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "target.h"

struct Pair {
  int master, slave;
};

static struct {
  struct Pair raw, lines, packets, left, mine;
  int locked, kept, closed;
  char name[64];
} all;

static struct Pair open_pair(void) {
  struct Pair pair;
  pair.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  target_require(pair.master >= 0 && unlockpt(pair.master) == 0, "posix_openpt");
  pair.slave = open(ptsname(pair.master), O_RDWR | O_NOCTTY | O_NONBLOCK);
  target_require(pair.slave >= 0, "open the slave");
  return pair;
}

static void send(int fd, const char* text) {
  target_require(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static void make_raw(int fd) {
  struct termios modes;
  target_require(tcgetattr(fd, &modes) == 0, "tcgetattr");
  cfmakeraw(&modes);
  target_require(tcsetattr(fd, TCSANOW, &modes) == 0, "tcsetattr");
}

static void open_slaves_close_on_exec(void) {
  all.kept = ioctl(all.raw.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  all.closed = fcntl(all.kept, F_DUPFD_CLOEXEC, 0);
  target_require(all.kept >= 0 && all.closed >= 0, "TIOCGPTPEER");
  target_require(fcntl(all.kept, F_SETFD, 0) == 0, "F_SETFD");
}

static void check_close_on_exec(void) {
  target_check_number("flags of an inherited slave", fcntl(all.raw.slave, F_GETFD), 0);
  target_check_number("close on exec in F_GETFL", fcntl(all.raw.slave, F_GETFL) & O_CLOEXEC, 0);
  target_check_number("flags of a slave that was close-on-exec", fcntl(all.kept, F_GETFD), 0);
  target_check_number("flags of a slave that is close-on-exec", fcntl(all.closed, F_GETFD), FD_CLOEXEC);
}

static void set_up(void) {
  struct winsize size = {.ws_row = 33, .ws_col = 77, .ws_xpixel = 1, .ws_ypixel = 2};
  struct termios modes;
  all.raw = open_pair();
  make_raw(all.raw.slave);
  target_require(ioctl(all.raw.master, TIOCSWINSZ, &size) == 0, "TIOCSWINSZ");
  send(all.raw.master, "to\rthe\nslave\003");
  send(all.raw.slave, "to the master\n");
  open_slaves_close_on_exec();

  all.lines = open_pair();
  target_require(tcgetattr(all.lines.slave, &modes) == 0, "tcgetattr");
  modes.c_cc[VERASE] = '#';
  modes.c_lflag &= ~(tcflag_t)ECHOCTL;
  target_require(tcsetattr(all.lines.slave, TCSANOW, &modes) == 0, "tcsetattr");
  send(all.lines.master, "first line\nsecond lime#");
  struct pollfd polled = {all.lines.slave, POLLIN, 0};
  poll(&polled, 1, 1000);  // now it has been echoed
  send(all.lines.slave, "prompt\n");
  snprintf(all.name, sizeof all.name, "%s", ptsname(all.lines.master));

  all.packets = open_pair();
  make_raw(all.packets.slave);
  int on = 1;
  target_require(ioctl(all.packets.master, TIOCPKT, &on) == 0, "TIOCPKT");
  send(all.packets.slave, "in a packet");

  all.left = open_pair();
  make_raw(all.left.slave);
  send(all.left.slave, "last words");
  close(all.left.slave);
  all.locked = open("/dev/ptmx", O_RDWR | O_NOCTTY);

  target_require(setsid() == getpid() || getsid(0) == getpid(), "setsid");
  all.mine = open_pair();
  target_require(ioctl(all.mine.slave, TIOCSCTTY, 0) == 0, "TIOCSCTTY");
}

static void expect_text(const char* what, int fd, const char* expected) {
  char text[256] = {0};
  struct pollfd polled = {fd, POLLIN, 0};
  poll(&polled, 1, 1000);
  if (read(fd, text, sizeof text - 1) < 0) target_differs("%s: %s", what, strerror(errno));
  target_check_string(what, text, expected);
}

static void check_modes(const char* what, const struct Pair* pair, tcflag_t local, tcflag_t no_local) {
  struct termios modes;
  target_check_number(what, tcgetattr(pair->slave, &modes), 0);
  target_check_number(what, modes.c_lflag & (local | no_local), local);
}

static void check_raw(void) {
  struct winsize size;
  check_modes("modes of the raw terminal", &all.raw, 0, ICANON | ECHO | ISIG);
  target_check_number("window", ioctl(all.raw.slave, TIOCGWINSZ, &size), 0);
  target_check_number("rows", size.ws_row, 33);
  target_check_number("columns", size.ws_col, 77);
  expect_text("what the slave was sent", all.raw.slave, "to\rthe\nslave\003");
  expect_text("what the master was sent", all.raw.master, "to the master\n");
  send(all.raw.master, "more");
  expect_text("what the slave is sent now", all.raw.slave, "more");
}

static void check_lines(void) {
  check_modes("modes of the other terminal", &all.lines, ICANON | ECHO | ISIG, ECHOCTL);
  expect_text("echo and prompt", all.lines.master, "first line\r\nsecond lime\b \bprompt\r\n");
  expect_text("first line", all.lines.slave, "first line\n");
  char text[8];
  target_check_number("half a line", read(all.lines.slave, text, sizeof text), -1);
  send(all.lines.master, "#ne\n");
  expect_text("second line", all.lines.slave, "second line\n");
  target_check_string("name of the slave", ptsname(all.lines.master), all.name);
  target_check_string("terminal of the slave", ttyname(all.lines.slave), all.name);
}

static void check_others(void) {
  char text[64] = {0};
  target_check_number("packet", read(all.packets.master, text, sizeof text), 12);
  target_check_bytes("packet of data", text, "\0in a packet", 12);
  int on = 0;
  target_check_number("packet mode", ioctl(all.packets.master, TIOCGPKT, &on) == 0 && on, 1);
  expect_text("what was written last", all.left.master, "last words");
  target_check_number("read after the hang-up", read(all.left.master, text, sizeof text), -1);
  target_check_number("why", errno, EIO);
  int lock = 0;
  target_check_number("lock", ioctl(all.locked, TIOCGPTLCK, &lock) == 0 && lock, 1);
}

static void check_controlling(void) {
  target_check_number("session of the terminal", tcgetsid(all.mine.slave), getpid());
  target_check_number("foreground", tcgetpgrp(all.mine.slave), getpgrp());
  int fd = open("/dev/tty", O_RDWR);
  target_check_number("/dev/tty", fd >= 0, 1);
  send(fd, "here");
  expect_text("what /dev/tty was sent", all.mine.master, "here");
  signal(SIGINT, SIG_IGN);
  sigset_t set;
  struct timespec second = {1, 0};
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, NULL);
  send(all.mine.master, "\003");
  target_check_number("signal of the interrupt character", sigtimedwait(&set, NULL, &second), SIGINT);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  set_up();

  target_ready();
  target_wait(go_file);

  check_close_on_exec();
  check_raw();
  check_lines();
  check_others();
  check_controlling();
  return target_finish();
}
