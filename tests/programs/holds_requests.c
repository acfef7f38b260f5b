// Holds what no checkpoint can: an AIO context (aio) or an io_uring (ring) with a request under way, a
// fanotify group (fanotify), or a userfaultfd (userfaultfd).
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "support/ring_call.h"
#include "target.h"

static void poll_in_ring(void) {
  struct io_uring_params at = {0};
  int ring = (int)ring_call(SYS_io_uring_setup, 1, (intptr_t)&at, NULL, 0);
  int ends[2];
  target_require(ring >= 0 && pipe(ends) == 0, "io_uring_setup");
  unsigned char* memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, 0);
  struct io_uring_sqe* request =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  target_require(memory != MAP_FAILED && (void*)request != MAP_FAILED, "mmap");
  request->opcode = IORING_OP_POLL_ADD;
  request->fd = ends[0];
  request->poll32_events = POLLIN;
  __atomic_store_n((unsigned*)(void*)(memory + at.sq_off.tail), 1, __ATOMIC_SEQ_CST);
  target_require(syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1, "io_uring_enter");
}

static void poll_in_context(void) {
  aio_context_t context = 0;
  int ends[2];
  target_require(syscall(SYS_io_setup, 4, &context) == 0 && pipe(ends) == 0, "io_setup");
  struct iocb request = {.aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (unsigned)ends[0], .aio_buf = POLLIN};
  struct iocb* requests[] = {&request};
  target_require(syscall(SYS_io_submit, context, 1, requests) == 1, "io_submit");
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs to know what to hold");
  if (strcmp(argv[1], "ring") == 0) {
    poll_in_ring();
  } else if (strcmp(argv[1], "aio") == 0) {
    poll_in_context();
  } else if (strcmp(argv[1], "userfaultfd") == 0) {
    target_require(syscall(SYS_userfaultfd, UFFD_USER_MODE_ONLY) >= 0, "userfaultfd");
  } else {
    target_require(fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY) >= 0, "fanotify_init");
  }

  target_ready();
  target_wait(go_file);
  return target_finish();
}
