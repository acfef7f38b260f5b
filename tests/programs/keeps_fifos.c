// A FIFO with both ends in the program keeps its bytes and stays connected to its name; so does one whose
// writer has gone.
// Takes the FIFO to create before the go file.
#include <fcntl.h>
#include <sys/stat.h>

#include "target.h"

enum { kBytes = 3000 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a path");
  static unsigned char content[kBytes];
  static unsigned char got[kBytes];
  target_fill(content, kBytes, 1);
  target_require(mkfifo(argv[1], 0600) == 0, argv[1]);
  int reader = open(argv[1], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  int writer = open(argv[1], O_WRONLY);
  target_require(reader >= 0 && writer >= 0, argv[1]);
  target_require(write(writer, content, kBytes) == kBytes, "write");
  char left_path[512];
  snprintf(left_path, sizeof left_path, "%s.left", argv[1]);
  target_require(mkfifo(left_path, 0600) == 0, left_path);
  int left = open(left_path, O_RDONLY | O_NONBLOCK);
  int gone = open(left_path, O_WRONLY);
  target_require(left >= 0 && gone >= 0 && write(gone, content, kBytes) == kBytes, "write");
  close(gone);

  target_ready();
  target_wait(go_file);

  target_check_number("read", read(reader, got, kBytes), kBytes);
  target_check_bytes("bytes in the FIFO", got, content, kBytes);
  target_check_number("read of an empty FIFO", read(reader, got, 1), -1);
  target_check_number("flags of the reader", fcntl(reader, F_GETFL) & (O_NONBLOCK | O_ACCMODE),
                      O_NONBLOCK | O_RDONLY);
  target_check_number("flags of the writer", fcntl(writer, F_GETFL) & (O_NONBLOCK | O_ACCMODE), O_WRONLY);
  int another = open(argv[1], O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  if (another < 0) target_differs("opening the FIFO by its name: %s", strerror(errno));
  target_check_number("write", write(another, "x", 1), 1);
  target_check_number("read", read(reader, got, 2), 1);
  close(another);
  close(writer);
  target_check_number("end of file", read(reader, got, 1), 0);
  memset(got, 0, kBytes);
  target_check_number("read of what a writer left", read(left, got, kBytes), kBytes);
  target_check_bytes("bytes that a writer left", got, content, kBytes);
  target_check_number("end of file without a writer", read(left, got, 1), 0);
  return target_finish();
}
