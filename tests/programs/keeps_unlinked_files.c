// Files that were deleted while open keep their content, offsets, and stay one file for all who have it open.
// Takes the file to create (and delete) before the go file.
#include <fcntl.h>
#include <sys/stat.h>

#include "target.h"

enum { kBytes = 300001, kHole = 1 << 20 };

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  static unsigned char content[kBytes];
  static unsigned char got[kBytes];
  target_fill(content, kBytes, 1);
  int writer = open(argv[1], O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0640);
  int reader = open(argv[1], O_RDONLY);
  target_require(writer >= 0 && reader >= 0, argv[1]);
  target_require(write(writer, content, kBytes) == kBytes, "write");
  target_require(ftruncate(writer, kHole) == 0, "ftruncate");
  target_require(unlink(argv[1]) == 0, "unlink");
  lseek(reader, 777, SEEK_SET);

  target_ready();
  target_wait(go_file);

  target_check_number("offset of the writer", lseek(writer, 0, SEEK_CUR), kBytes);
  target_check_number("offset of the reader", lseek(reader, 0, SEEK_CUR), 777);
  target_check_number("access mode of the reader", fcntl(reader, F_GETFL) & O_ACCMODE, O_RDONLY);
  target_check_number("pread", pread(reader, got, kBytes, 0), kBytes);
  target_check_bytes("content of the deleted file", got, content, kBytes);
  target_check_number("size", lseek(writer, 0, SEEK_END), kHole);
  struct stat status;
  target_require(fstat(writer, &status) == 0, "fstat");
  target_check_number("links", (long long)status.st_nlink, 0);
  target_check_number("mode", status.st_mode & 0777, 0640);
  target_check_number("write", pwrite(writer, "new", 3, 10), 3);
  target_check_number("pread", pread(reader, got, 3, 10), 3);
  target_check_bytes("what the other descriptor wrote", got, "new", 3);
  if (access(argv[1], F_OK) == 0) target_differs("%s exists again", argv[1]);
  return target_finish();
}
