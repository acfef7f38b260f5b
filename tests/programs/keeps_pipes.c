// Pipes with both ends in the program keep the bytes in them, their size, flags, packets, and who has which
// end.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "target.h"

enum { kFull = 65536, kLarge = 1 << 18, kPartBytes = 5000 };

static void make_pipe(int* ends, int flags) { target_require(pipe2(ends, flags) == 0, "pipe2"); }

static void check_reads(const char* what, int fd, const unsigned char* expected, size_t size_bytes) {
  static unsigned char got[kLarge];
  size_t total = 0;
  while (total < size_bytes) {
    ssize_t count = read(fd, got + total, size_bytes - total);
    if (count <= 0) break;
    total += (size_t)count;
  }
  target_check_number(what, (long long)total, (long long)size_bytes);
  target_check_bytes(what, got, expected, total);
}

static bool is_readable(int fd) {
  struct pollfd one = {fd, POLLIN, 0};
  return poll(&one, 1, 0) == 1;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  static unsigned char content[kLarge];
  target_fill(content, sizeof content, 1);
  int empty[2];
  int part[2];
  int full[2];
  int large[2];
  int closed[2];
  int packets[2];
  make_pipe(empty, O_CLOEXEC);
  make_pipe(part, 0);
  make_pipe(full, O_NONBLOCK);
  make_pipe(large, 0);
  make_pipe(closed, 0);
  make_pipe(packets, O_DIRECT | O_NONBLOCK);
  int part_again = dup(part[1]);
  target_require(write(part[1], content, kPartBytes) == kPartBytes, "write");
  target_require(write(full[1], content, kFull) == kFull, "write to a full pipe");
  target_require(fcntl(large[1], F_SETPIPE_SZ, kLarge) == kLarge, "F_SETPIPE_SZ");
  target_require(write(large[1], content, kLarge - 1) == kLarge - 1, "write to a large pipe");
  target_require(write(closed[1], content, 10) == 10 && close(closed[1]) == 0, "write");
  for (size_t i = 1; i <= 5; i++)
    target_require(write(packets[1], content, 10 * i) == (ssize_t)(10 * i), "write");

  target_ready();
  target_wait(go_file);

  target_check_number("bytes in the empty pipe", is_readable(empty[0]), false);
  target_check_number("close-on-exec of a pipe", fcntl(empty[1], F_GETFD), FD_CLOEXEC);
  int waiting = 0;
  ioctl(part[0], FIONREAD, &waiting);
  target_check_number("bytes in the pipe", waiting, kPartBytes);
  check_reads("pipe", part[0], content, kPartBytes);
  target_check_number("write to its other descriptor", write(part_again, content, 100), 100);
  close(part_again);
  close(part[1]);
  check_reads("pipe whose writers closed", part[0], content, 100);
  target_check_number("end of file", read(part[0], content, 1), 0);

  target_check_number("write to a full pipe", write(full[1], content, 1), -1);
  target_check_number("flags of a pipe", fcntl(full[1], F_GETFL), O_WRONLY | O_NONBLOCK);
  check_reads("full pipe", full[0], content, kFull);
  target_check_number("read of an emptied pipe", read(full[0], content, 1), -1);

  target_check_number("size of a large pipe", fcntl(large[0], F_GETPIPE_SZ), kLarge);
  check_reads("large pipe", large[0], content, kLarge - 1);
  check_reads("pipe with one end", closed[0], content, 10);
  target_check_number("end of file of a pipe with one end", read(closed[0], content, 1), 0);

  static unsigned char packet[4096];
  for (size_t i = 1; i <= 5; i++) {
    target_check_number("packet", read(packets[0], packet, sizeof packet), (long long)(10 * i));
  }
  target_check_number("packet mode", fcntl(packets[1], F_GETFL) & O_DIRECT, O_DIRECT);
  return target_finish();
}
