// Contexts of Linux AIO stay under their ids: one that has served requests and has events that nobody read,
// one of another size that was never used, and one in which a thread waits for an event that comes later.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>

#include "target.h"

enum { kServed = 100, kWaiting = 3, kBytes = 512 };

static struct {
  aio_context_t used, fresh, awaited;
  int file;
  char buffer[kBytes];
  long taken;
  struct io_event event;
} all;

static void set_up(aio_context_t* context, unsigned requests) {
  target_require(syscall(SYS_io_setup, requests, context) == 0, "io_setup");
}

static void read_file(aio_context_t context, unsigned long long data) {
  struct iocb request = {.aio_data = data,
                         .aio_lio_opcode = IOCB_CMD_PREAD,
                         .aio_fildes = (unsigned)all.file,
                         .aio_buf = (uintptr_t)all.buffer,
                         .aio_nbytes = kBytes};
  struct iocb* requests[] = {&request};
  target_require(syscall(SYS_io_submit, context, 1, requests) == 1, "io_submit");
}

static long take(aio_context_t context, long least, long most, struct io_event* events) {
  struct timespec at_once = {0};
  return syscall(SYS_io_getevents, context, least, most, events, &at_once);
}

static void* wait_for_event(void* unused) {
  (void)unused;
  all.taken = syscall(SYS_io_getevents, all.awaited, 1, 1, &all.event, NULL);
  return NULL;
}

// More events than the ring has places, so that its ends have been passed.
static void serve(void) {
  struct io_event event;
  for (unsigned i = 0; i < kServed; i++) {
    read_file(all.used, i);
    target_require(take(all.used, 1, 1, &event) == 1 && event.data == i, "io_getevents");
  }
  for (unsigned i = 0; i < kWaiting; i++) read_file(all.used, 1000 + i);
}

static void check_used(void) {
  struct io_event events[kWaiting + 1] = {{0}};
  target_check_number("events that waited", take(all.used, 0, kWaiting + 1, events), kWaiting);
  for (unsigned i = 0; i < kWaiting; i++) {
    target_check_number("data of an event", (long long)events[i].data, 1000 + i);
    target_check_number("result of an event", (long long)events[i].res, kBytes);
  }
  memset(all.buffer, 0, sizeof all.buffer);
  read_file(all.used, 77);
  target_check_number("a new event", take(all.used, 1, 1, events), 1);
  target_check_number("its data", (long long)events[0].data, 77);
  target_check_number("what was read", all.buffer[kBytes - 1], 'x');
}

// As many requests as it was made for, all at once.
static void check_fresh(void) {
  struct io_event events[200];
  for (unsigned i = 0; i < 200; i++) read_file(all.fresh, i);
  target_check_number("events of the fresh context", take(all.fresh, 200, 200, events), 200);
  target_check_number("the last one", (long long)events[199].data, 199);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  target_require(argc == 3, "needs a file");
  all.file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
  memset(all.buffer, 'x', sizeof all.buffer);
  target_require(all.file >= 0 && write(all.file, all.buffer, kBytes) == kBytes, argv[1]);
  set_up(&all.used, 4);
  set_up(&all.fresh, 200);
  set_up(&all.awaited, 1);
  serve();
  pthread_t waiter;
  target_require(pthread_create(&waiter, NULL, wait_for_event, NULL) == 0, "pthread_create");

  target_ready();
  target_wait(go_file);

  check_used();
  check_fresh();
  read_file(all.awaited, 5);
  pthread_join(waiter, NULL);
  target_check_number("events that were waited for", all.taken, 1);
  target_check_number("the data of that", (long long)all.event.data, 5);
  target_check_number("io_destroy", syscall(SYS_io_destroy, all.used), 0);
  return target_finish();
}
