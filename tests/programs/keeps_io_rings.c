// An io_uring at rest goes on where it was: counters, completions that nobody took, requests that were not
// submitted, registered files and buffers; its memory is where it was.
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "support/ring_call.h"
#include "target.h"

enum { kEntries = 8, kBefore = 1003, kBufferBytes = 8192, kNoIndexArray = 1 << 16 };

struct Ring {
  int fd;
  unsigned char* memory;
  size_t bytes;
  struct io_uring_sqe* requests;
  struct io_uring_params at;
};

static struct {
  struct Ring plain, single, fresh;
  int file, epoll;
  unsigned char* buffer;
} all;

static unsigned* word(const struct Ring* ring, unsigned offset) {
  return (unsigned*)(void*)(ring->memory + offset);
}

static bool set_up_ring(struct Ring* ring, unsigned flags) {
  ring->at.flags = flags;
  ring->fd = (int)ring_call(SYS_io_uring_setup, kEntries, (intptr_t)&ring->at, NULL, 0);
  if (ring->fd < 0) return false;
  ring->bytes = ring->at.sq_off.array + kEntries * sizeof(unsigned);
  size_t completions = ring->at.cq_off.cqes + ring->at.cq_entries * sizeof(struct io_uring_cqe);
  if (completions > ring->bytes) ring->bytes = completions;
  ring->memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, 0);
  ring->requests = mmap(NULL, kEntries * sizeof *ring->requests, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
  target_require(ring->memory != MAP_FAILED && (void*)ring->requests != MAP_FAILED, "mmap");
  return true;
}

static struct io_uring_sqe* next_request(struct Ring* ring, unsigned ahead, unsigned char opcode) {
  unsigned tail = *word(ring, ring->at.sq_off.tail) + ahead;
  struct io_uring_sqe* request = &ring->requests[tail % kEntries];
  memset(request, 0, sizeof *request);
  request->opcode = opcode;
  request->user_data = tail;
  if ((ring->at.flags & kNoIndexArray) == 0)
    word(ring, ring->at.sq_off.array)[tail % kEntries] = tail % kEntries;
  return request;
}

static long submit(struct Ring* ring, unsigned count) {
  __atomic_add_fetch(word(ring, ring->at.sq_off.tail), count, __ATOMIC_SEQ_CST);
  return syscall(SYS_io_uring_enter, ring->fd, count, count, IORING_ENTER_GETEVENTS, NULL, 0);
}

static unsigned waiting(const struct Ring* ring) {
  return __atomic_load_n(word(ring, ring->at.cq_off.tail), __ATOMIC_SEQ_CST) -
         *word(ring, ring->at.cq_off.head);
}

struct Completion {
  unsigned long long data;
  int result;
};

static struct Completion take(struct Ring* ring) {
  unsigned* head = word(ring, ring->at.cq_off.head);
  struct io_uring_cqe* completions = (struct io_uring_cqe*)(void*)(ring->memory + ring->at.cq_off.cqes);
  const struct io_uring_cqe* completion = &completions[*head % ring->at.cq_entries];
  struct Completion taken = {completion->user_data, completion->res};
  __atomic_add_fetch(head, 1, __ATOMIC_SEQ_CST);
  return taken;
}

static void serve(struct Ring* ring, unsigned count) {
  for (unsigned i = 0; i < count; i++) {
    next_request(ring, 0, IORING_OP_NOP);
    target_require(submit(ring, 1) == 1, "io_uring_enter");
    take(ring);
  }
}

// Without the right to use io_uring there is nothing to keep.
static void set_up(const char* go_file) {
  if (!set_up_ring(&all.plain, 0)) {
    target_ready();
    target_wait(go_file);
    exit(target_finish());
  }
  all.file = memfd_create("for the ring", MFD_CLOEXEC);
  target_require(all.file >= 0 && write(all.file, "through the ring", 16) == 16, "memfd_create");
  all.buffer = mmap(NULL, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  struct iovec buffer = {all.buffer, kBufferBytes};
  int files[3] = {-1, all.file, -1};
  target_require(ring_call(SYS_io_uring_register, all.plain.fd, IORING_REGISTER_BUFFERS, &buffer, 1) == 0 &&
                     syscall(SYS_io_uring_register, all.plain.fd, IORING_REGISTER_FILES, files, 3) == 0,
                 "io_uring_register");
  serve(&all.plain, kBefore);
  for (unsigned i = 0; i < 3; i++) next_request(&all.plain, i, IORING_OP_NOP);
  target_require(submit(&all.plain, 3) == 3, "io_uring_enter");
  next_request(&all.plain, 0, IORING_OP_NOP)->user_data = 4711;  // not submitted

  set_up_ring(&all.fresh, 0);
  if (set_up_ring(&all.single, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | kNoIndexArray))
    serve(&all.single, 5);
  all.epoll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.u32 = 77};
  target_require(epoll_ctl(all.epoll, EPOLL_CTL_ADD, all.fresh.fd, &event) == 0, "EPOLL_CTL_ADD");
}

static void check_counters(void) {
  target_check_number("submission head", *word(&all.plain, all.plain.at.sq_off.head), kBefore + 3);
  target_check_number("completion tail", *word(&all.plain, all.plain.at.cq_off.tail), kBefore + 3);
  target_check_number("completions", waiting(&all.plain), 3);
  for (unsigned i = 0; i < 3; i++)
    target_check_number("completion", (long long)take(&all.plain).data, kBefore + i);
  target_check_number("submission", submit(&all.plain, 1), 1);
  target_check_number("completions", waiting(&all.plain), 1);
  target_check_number("request that was prepared", (long long)take(&all.plain).data, 4711);
}

static void check_registered(void) {
  struct io_uring_sqe* request = next_request(&all.plain, 0, IORING_OP_READ_FIXED);
  request->fd = 1;
  request->flags = IOSQE_FIXED_FILE;
  request->addr = (uintptr_t)all.buffer + 4096;
  request->len = 16;
  target_check_number("submission", submit(&all.plain, 1), 1);
  target_check_number("bytes read", take(&all.plain).result, 16);
  target_check_bytes("registered buffer", all.buffer + 4096, "through the ring", 16);
}

static void check_others(void) {
  struct epoll_event event;
  target_check_number("events of an idle ring", epoll_wait(all.epoll, &event, 1, 0), 0);
  next_request(&all.fresh, 0, IORING_OP_NOP);
  target_check_number("submission to the fresh ring", submit(&all.fresh, 1), 1);
  target_check_number("events of the ring", epoll_wait(all.epoll, &event, 1, 0), 1);
  target_check_number("completion of the fresh ring", (long long)take(&all.fresh).data, 0);
  if (all.single.fd < 0) return;
  struct io_uring_sqe* request = next_request(&all.single, 0, IORING_OP_NOP);
  request->user_data = 12;
  target_check_number("submission by the only issuer", submit(&all.single, 1), 1);
  target_check_number("its completion", waiting(&all.single), 1);
  target_check_number("its data", (long long)take(&all.single).data, 12);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  set_up(go_file);

  target_ready();
  target_wait(go_file);

  check_counters();
  check_registered();
  check_others();
  return target_finish();
}
