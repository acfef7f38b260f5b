// System V shared memory stays attached where it was, semaphores keep their values and what the end of each
// process would undo, and message queues keep their messages; all under the same ids and keys.
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "target.h"

enum { kBytes = 5 * 4096 + 100, kSemaphores = 4 };

struct Message {
  long type;
  char text[16];
};

static struct {
  int segment, semaphores, queue;
  int of_child, ready[2];
  pid_t child;
  unsigned long attachments;
  key_t key;
  unsigned char *attached, *again, *orphan;
} all;

static void set_up_memory(void) {
  all.segment = shmget(all.key, kBytes, IPC_CREAT | IPC_EXCL | 0640);
  int removed = shmget(IPC_PRIVATE, kBytes, 0600);
  target_require(all.segment >= 0 && removed >= 0, "shmget");
  all.attached = shmat(all.segment, NULL, 0);
  all.again = shmat(all.segment, NULL, SHM_RDONLY);
  all.orphan = shmat(removed, NULL, 0);
  target_require(all.attached != (void*)-1 && all.again != (void*)-1 && all.orphan != (void*)-1, "shmat");
  target_require(shmctl(removed, IPC_RMID, NULL) == 0, "IPC_RMID");
  target_fill(all.attached, kBytes - 4096, 1);
  target_fill(all.orphan, kBytes, 2);
  target_require(mprotect(all.attached + 4096, 4096, PROT_READ) == 0, "mprotect");
  struct shmid_ds status;
  target_require(shmctl(all.segment, IPC_STAT, &status) == 0, "IPC_STAT");
  all.attachments = status.shm_nattch;
}

static void operate(int semaphore, int change, int flags) {
  struct sembuf operation = {(unsigned short)semaphore, (short)change, (short)flags};
  target_require(semop(all.semaphores, &operation, 1) == 0, "semop");
}

static void set_up_semaphores(void) {
  all.semaphores = semget(all.key, kSemaphores, IPC_CREAT | IPC_EXCL | 0600);
  target_require(all.semaphores >= 0, "semget");
  unsigned short values[kSemaphores] = {5, 0, 32767, 100};
  target_require(semctl(all.semaphores, 0, SETALL, values) == 0, "SETALL");
  operate(0, -3, SEM_UNDO);
  operate(1, 7, SEM_UNDO);
  operate(2, -32767, SEM_UNDO);
  operate(3, 1, 0);
}

static void set_up_child(void) {
  all.of_child = semget(IPC_PRIVATE, 2, 0600);
  target_require(all.of_child >= 0 && pipe(all.ready) == 0, "semget, pipe");
  all.child = fork();
  if (all.child == 0) {
    struct sembuf changes[] = {{0, 6, 0}, {0, -2, SEM_UNDO}, {1, 9, SEM_UNDO}};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (semop(all.of_child, changes, 3) == 0 && write(all.ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte;
  target_require(all.child > 0 && read(all.ready[0], &byte, 1) == 1, "fork");
}

static void check_child(void) {
  target_check_number("value of the child's", semctl(all.of_child, 0, GETVAL), 4);
  target_check_number("the other value", semctl(all.of_child, 1, GETVAL), 9);
  kill(all.child, SIGKILL);
  target_check_number("waitpid", waitpid(all.child, NULL, 0), all.child);
  target_check_number("value after the child's end", semctl(all.of_child, 0, GETVAL), 6);
  target_check_number("the other value", semctl(all.of_child, 1, GETVAL), 0);
  target_check_number("IPC_RMID", semctl(all.of_child, 0, IPC_RMID), 0);
}

static void set_up_queue(void) {
  all.queue = msgget(all.key, IPC_CREAT | IPC_EXCL | 0600);
  struct Message first = {3, "first"}, second = {1, "second"};
  target_require(all.queue >= 0 && msgsnd(all.queue, &first, 6, 0) == 0 &&
                     msgsnd(all.queue, &second, sizeof second.text, 0) == 0,
                 "msgsnd");
}

static void check_memory(void) {
  struct shmid_ds status;
  target_check_number("segment of the key", shmget(all.key, 0, 0), all.segment);
  target_check_number("IPC_STAT", shmctl(all.segment, IPC_STAT, &status), 0);
  target_check_number("size", (long long)status.shm_segsz, kBytes);
  target_check_number("mode", status.shm_perm.mode, 0640);
  target_check_number("attached", (long long)status.shm_nattch, (long long)all.attachments);
  target_check_pattern("segment", all.attached, kBytes - 4096, 1);
  target_check_zero("untouched end", all.attached + kBytes - 4096, 4096);
  all.attached[0] ^= 1;
  target_check_number("other view", all.again[0], all.attached[0]);
  all.attached[0] ^= 1;
  target_check_pattern("removed segment", all.orphan, kBytes, 2);
  target_check_number("detach", shmdt(all.orphan), 0);
  target_check_number("detach", shmdt(all.attached), 0);
  target_check_number("detach", shmdt(all.again), 0);
  target_check_number("IPC_RMID", shmctl(all.segment, IPC_RMID, NULL), 0);
}

static void expect_values(const char* what, const unsigned short* expected) {
  unsigned short values[kSemaphores] = {0};
  target_check_number(what, semctl(all.semaphores, 0, GETALL, values), 0);
  for (int i = 0; i < kSemaphores; i++) target_check_number(what, values[i], expected[i]);
}

// What the end would undo shows in how much more may be undone.
static void check_semaphores(void) {
  const unsigned short now[kSemaphores] = {2, 7, 0, 101};
  target_check_number("set of the key", semget(all.key, 0, 0), all.semaphores);
  expect_values("semaphore", now);
  // An adjustment out of range is refused, which shows what there is: 3, -7 and 32767.
  struct sembuf down[] = {
      {0, 32767 - 2, 0}, {0, -(32767 - 3), SEM_UNDO | IPC_NOWAIT}, {0, -1, SEM_UNDO | IPC_NOWAIT}};
  target_check_number("adjustment", semop(all.semaphores, down, 3), -1);
  target_check_number("why not", errno, ERANGE);
  target_check_number("adjustment", semop(all.semaphores, down, 2), 0);
  operate(0, 32767 - 3, SEM_UNDO);
  operate(0, -(32767 - 2), 0);
  operate(0, 3, SEM_UNDO);
  operate(2, 32767, SEM_UNDO);
  operate(1, -7, SEM_UNDO);
  const unsigned short undone[kSemaphores] = {5, 0, 32767, 101};
  expect_values("semaphore when undone", undone);
  target_check_number("IPC_RMID", semctl(all.semaphores, 0, IPC_RMID), 0);
}

static void check_queue(void) {
  struct Message message = {0};
  target_check_number("queue of the key", msgget(all.key, 0), all.queue);
  target_check_number("message", msgrcv(all.queue, &message, sizeof message.text, 1, IPC_NOWAIT), 16);
  target_check_string("message of type 1", message.text, "second");
  target_check_number("message", msgrcv(all.queue, &message, sizeof message.text, 0, IPC_NOWAIT), 6);
  target_check_number("its type", message.type, 3);
  target_check_string("its text", message.text, "first");
  target_check_number("no message", msgrcv(all.queue, &message, sizeof message.text, 0, IPC_NOWAIT), -1);
  target_check_number("IPC_RMID", msgctl(all.queue, IPC_RMID, NULL), 0);
}

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  all.key = (key_t)(0x43000000 | getpid());
  set_up_child();  // first: it has no part in what follows
  set_up_memory();
  set_up_semaphores();
  set_up_queue();

  target_ready();
  target_wait(go_file);

  check_memory();
  check_semaphores();
  check_queue();
  check_child();
  return target_finish();
}
