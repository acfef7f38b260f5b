// Regular files keep number, offset, flags, close-on-exec, and who shares an open file description with whom.
// Takes the file to create before the go file.
#include <fcntl.h>

#include "target.h"

enum { kBytes = 100000, kHighNumber = 200 };

struct Wanted {
  const char* what;
  int fd, flags, descriptor_flags;
  long long offset;
};

static void check(const struct Wanted* wanted) {
  char what[128];
  const char* const kKinds[] = {"status flags", "close-on-exec", "offset"};
  long long is[] = {fcntl(wanted->fd, F_GETFL), fcntl(wanted->fd, F_GETFD), lseek(wanted->fd, 0, SEEK_CUR)};
  long long expected[] = {wanted->flags, wanted->descriptor_flags, wanted->offset};
  for (int i = 0; i < 3; i++) {
    snprintf(what, sizeof what, "%s of the %s (descriptor %d)", kKinds[i], wanted->what, wanted->fd);
    target_check_number(what, is[i], expected[i]);
  }
}

static void check_content(int fd, long long offset, size_t size_bytes) {
  unsigned char content[4096];
  unsigned char expected[4096];
  for (size_t i = 0; i < size_bytes; i++) expected[i] = target_pattern(1, (size_t)offset + i);
  target_check_number("read", read(fd, content, size_bytes), (long long)size_bytes);
  target_check_bytes("what was read", content, expected, size_bytes);
}

static int count_descriptors(void) {
  int count = 0;
  for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  static unsigned char content[kBytes];
  target_fill(content, kBytes, 1);

  int writer = open(argv[1], O_CREAT | O_TRUNC | O_WRONLY, 0600);
  target_require(writer >= 0 && write(writer, content, kBytes) == kBytes, argv[1]);
  int reader = open(argv[1], O_RDONLY | O_CLOEXEC);
  int same_as_reader = dup(reader);
  int high = fcntl(reader, F_DUPFD_CLOEXEC, kHighNumber);
  int other_reader = open(argv[1], O_RDWR | O_NONBLOCK);
  int appender = open(argv[1], O_WRONLY | O_APPEND | O_CLOEXEC);
  int quiet_reader = open(argv[1], O_RDONLY | O_NOATIME);
  target_require(
      reader >= 0 && high == kHighNumber && other_reader >= 0 && appender >= 0 && quiet_reader >= 0, "open");
  lseek(reader, 5000, SEEK_SET);
  lseek(other_reader, 70000, SEEK_SET);
  lseek(writer, 20, SEEK_SET);

  struct Wanted wanted[] = {
      {"writer", writer, fcntl(writer, F_GETFL), 0, 20},
      {"reader", reader, fcntl(reader, F_GETFL), FD_CLOEXEC, 5000},
      {"duplicate", same_as_reader, fcntl(reader, F_GETFL), 0, 5000},
      {"duplicate with a high number", high, fcntl(reader, F_GETFL), FD_CLOEXEC, 5000},
      {"second opening", other_reader, fcntl(other_reader, F_GETFL), 0, 70000},
      {"appender", appender, fcntl(appender, F_GETFL), FD_CLOEXEC, 0},
      {"reader that leaves no access time", quiet_reader, fcntl(quiet_reader, F_GETFL), 0, 0},
  };
  int count = count_descriptors();

  target_ready();
  target_wait(go_file);

  target_check_number("open descriptors", count_descriptors(), count);
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) check(&wanted[i]);
  check_content(reader, 5000, 1000);
  check_content(high, 6000, 1000);
  check_content(same_as_reader, 7000, 1000);
  target_check_number("offset shared by duplicates", lseek(reader, 0, SEEK_CUR), 8000);
  target_check_number("offset of the second opening", lseek(other_reader, 0, SEEK_CUR), 70000);
  target_check_number("append", write(appender, "end", 3), 3);
  target_check_number("size after appending", lseek(other_reader, 0, SEEK_END), kBytes + 3);
  target_check_number("write", write(writer, "begin", 5), 5);
  char text[8] = {0};
  target_check_number("pread", pread(other_reader, text, 5, 20), 5);
  target_check_string("what was written", text, "begin");
  target_check_number("setting flags", fcntl(reader, F_SETFL, O_NONBLOCK), 0);
  target_check_number("flags shared by duplicates", fcntl(high, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  target_check_number("flags of the writer", fcntl(writer, F_GETFL) & O_NONBLOCK, 0);
  return target_finish();
}
