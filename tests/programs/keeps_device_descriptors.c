// Descriptors of memory devices still read and write as those devices do.
#include <fcntl.h>
#include <sys/stat.h>

#include "target.h"

enum { kDevices = 4 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  static const char* const kPaths[kDevices] = {"/dev/null", "/dev/zero", "/dev/urandom", "/dev/full"};
  int fds[kDevices];
  struct stat before[kDevices];
  for (int i = 0; i < kDevices; i++) {
    fds[i] = open(kPaths[i], O_RDWR | (i % 2 == 0 ? O_CLOEXEC : O_NONBLOCK));
    target_require(fds[i] >= 0 && fstat(fds[i], &before[i]) == 0, kPaths[i]);
  }

  target_ready();
  target_wait(go_file);

  for (int i = 0; i < kDevices; i++) {
    struct stat after;
    target_check_number("fstat", fstat(fds[i], &after), 0);
    target_check_number(kPaths[i], (long long)after.st_rdev, (long long)before[i].st_rdev);
    target_check_number("close-on-exec", fcntl(fds[i], F_GETFD), i % 2 == 0 ? FD_CLOEXEC : 0);
    target_check_number("O_NONBLOCK", fcntl(fds[i], F_GETFL) & O_NONBLOCK, i % 2 == 0 ? 0 : O_NONBLOCK);
  }
  char bytes[64];
  memset(bytes, 1, sizeof bytes);
  target_check_number("read of /dev/null", read(fds[0], bytes, sizeof bytes), 0);
  target_check_number("write to /dev/null", write(fds[0], bytes, sizeof bytes), sizeof bytes);
  target_check_number("read of /dev/zero", read(fds[1], bytes, sizeof bytes), sizeof bytes);
  target_check_zero("bytes of /dev/zero", bytes, sizeof bytes);
  target_check_number("read of /dev/urandom", read(fds[2], bytes, sizeof bytes), sizeof bytes);
  target_check_number("write to /dev/full", write(fds[3], bytes, 1), -1);
  return target_finish();
}
