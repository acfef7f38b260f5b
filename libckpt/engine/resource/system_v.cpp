#include "engine/resource/system_v.h"

#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "engine/resource/finishing.h"
#include "engine/resource/object_content.h"
#include "engine/resource/semaphore_undo.h"
#include "engine/resource/system_v_ids.h"

namespace ckpt::engine {
namespace {

using resource::call_or_throw;
using resource::make_with_id;

constexpr unsigned kPermissions = 0777;

image::SystemVObjectT describe(int id, const ipc_perm& permissions) {
  image::SystemVObjectT object;
  object.id = id;
  object.key = permissions.__key;
  object.mode = permissions.mode;
  object.uid = permissions.uid;
  object.gid = permissions.gid;
  return object;
}

void give_back(ipc_perm& permissions, const image::SystemVObjectT& object) {
  permissions.uid = object.uid;
  permissions.gid = object.gid;
  permissions.mode = static_cast<unsigned short>(object.mode & kPermissions);
}

bool is_removed(const image::SystemVObjectT& object) { return (object.mode & SHM_DEST) != 0; }

// ---- semaphore sets

union SemaphoreArgument {  // semctl(2) leaves it to us
  int number;
  semid_ds* status;
  unsigned short* values;
  seminfo* limits;
};

bool used_last_by(std::span<const pid_t> processes, int id, unsigned count) {
  for (unsigned number = 0; number < count; ++number) {
    if (std::ranges::count(processes, ::semctl(id, static_cast<int>(number), GETPID)) != 0) return true;
  }
  return false;
}

std::unique_ptr<image::SemaphoreSetT> save_set(int id, const semid_ds& status) {
  auto set = std::make_unique<image::SemaphoreSetT>();
  set->object = std::make_unique<image::SystemVObjectT>(describe(id, status.sem_perm));
  set->values.resize(status.sem_nsems);
  SemaphoreArgument argument{.values = set->values.data()};
  if (::semctl(id, 0, GETALL, argument) < 0) throw_errno(fmt::format("read semaphore set {}", id));
  return set;
}

std::vector<std::int16_t> undo_of(ProgramCalls& program, const image::SemaphoreSetT& set) {
  std::vector<std::int16_t> undo;
  for (unsigned number = 0; number < set.values.size(); ++number)
    undo.push_back(resource::find_undo(program, set.object->id, number, set.values[number]));
  return undo;
}

void save_semaphores(std::span<const pid_t> processes, image::CheckpointT& checkpoint) {
  seminfo limits{};
  int last = ::semctl(0, 0, SEM_INFO, SemaphoreArgument{.limits = &limits});
  for (int slot = 0; slot <= last; ++slot) {
    semid_ds status{};
    int id = ::semctl(slot, 0, SEM_STAT, SemaphoreArgument{.status = &status});
    if (id < 0 || !used_last_by(processes, id, static_cast<unsigned>(status.sem_nsems))) continue;
    checkpoint.semaphore_sets.push_back(save_set(id, status));
  }
}

void make_set(const image::SemaphoreSetT& set) {
  const image::SystemVObjectT& object = *set.object;
  semid_ds status{};
  SemaphoreArgument argument{.status = &status};
  bool exists = ::semctl(object.id, 0, IPC_STAT, argument) == 0 && status.sem_perm.__key == object.key &&
                status.sem_nsems == set.values.size();
  if (exists) return;
  auto count = static_cast<int>(set.values.size());
  make_with_id({.what = "semaphore set",
                .next_id_file = "sem_next_id",
                .make = [&] { return ::semget(object.key, count, IPC_CREAT | IPC_EXCL | 0600); },
                .remove = [](int id) { ::semctl(id, 0, IPC_RMID); }},
               object);
  give_back(status.sem_perm, object);
  if (::semctl(object.id, 0, IPC_SET, argument) != 0)
    throw_errno(fmt::format("own semaphore set {}", object.id));
}

void finish_set(const image::SemaphoreSetT& set, ProgramCalls& program) {
  make_set(set);
  auto id = static_cast<std::uint64_t>(set.object->id);
  std::string attempt = fmt::format("set the values of semaphore set {}", id);
  std::vector<std::uint16_t> values;
  std::vector<sembuf> operations;
  for (std::size_t number = 0; number < set.values.size(); ++number) {
    resource::UndoAgain again =
        resource::undo_again(static_cast<unsigned>(number), set.values[number], set.undo.at(number));
    values.push_back(again.first_value);
    operations.insert(operations.end(), again.operations.begin(), again.operations.end());
  }
  RemoteAddr address = program.place(std::as_bytes(std::span(values)));
  call_or_throw(program, attempt, SYS_semctl, {id, 0, SETALL, address.value});
  if (operations.empty()) return;
  address = program.place(std::as_bytes(std::span(operations)));
  call_or_throw(program, attempt, SYS_semop, {id, address.value, operations.size()});
}

// The program's own is part of what finish_set() does.
void finish_undo(const image::SemaphoreSetT& set, std::int32_t process, ProgramCalls& program) {
  for (const auto& relative : set.undo_of_relatives) {
    if (relative->process != process) continue;
    std::vector<sembuf> operations;
    for (unsigned number = 0; number < set.values.size(); ++number) {
      std::vector<sembuf> more = resource::undo_more(number, set.values[number], relative->undo.at(number));
      operations.insert(operations.end(), more.begin(), more.end());
    }
    RemoteAddr address = program.place(std::as_bytes(std::span(operations)));
    call_or_throw(program, fmt::format("set what is to be undone in semaphore set {}", set.object->id),
                  SYS_semop, {static_cast<std::uint64_t>(set.object->id), address.value, operations.size()});
  }
}

// ---- message queues

struct MessageRoom {
  long type;
  std::byte content[1];  // NOLINT(modernize-avoid-c-arrays): as msgsnd(2) has it
};

constexpr std::size_t kTypeBytes = offsetof(MessageRoom, content);

std::unique_ptr<image::QueuedMessageT> copy_message(int id, std::uint64_t index, std::size_t most_bytes) {
  std::vector<std::byte> room(kTypeBytes + most_bytes);
  ssize_t got = ::msgrcv(id, room.data(), most_bytes, static_cast<long>(index), MSG_COPY | IPC_NOWAIT);
  if (got < 0) throw_errno(fmt::format("look at message {} of queue {}", index, id));
  auto message = std::make_unique<image::QueuedMessageT>();
  std::memcpy(&message->kind, room.data(), sizeof(message->kind));
  message->content.resize(static_cast<std::size_t>(got));
  std::memcpy(message->content.data(), room.data() + kTypeBytes, message->content.size());
  return message;
}

void save_queues(std::span<const pid_t> processes, image::CheckpointT& checkpoint) {
  msginfo limits{};
  int last = ::msgctl(0, MSG_INFO, reinterpret_cast<msqid_ds*>(&limits));
  for (int slot = 0; slot <= last; ++slot) {
    msqid_ds status{};
    int id = ::msgctl(slot, MSG_STAT, &status);
    if (id < 0) continue;
    bool ours = std::ranges::any_of(
        processes, [&](pid_t pid) { return pid == status.msg_lspid || pid == status.msg_lrpid; });
    if (!ours) continue;
    auto queue = std::make_unique<image::SystemVQueueT>();
    queue->object = std::make_unique<image::SystemVObjectT>(describe(id, status.msg_perm));
    queue->most_bytes = status.msg_qbytes;
    for (std::uint64_t i = 0; i < status.msg_qnum; ++i)
      queue->messages.push_back(copy_message(id, i, status.__msg_cbytes));
    checkpoint.system_v_queues.push_back(std::move(queue));
  }
}

void empty_queue(int id, std::size_t most_bytes) {
  std::vector<std::byte> room(kTypeBytes + most_bytes);
  while (::msgrcv(id, room.data(), most_bytes, 0, IPC_NOWAIT | MSG_NOERROR) >= 0) continue;
  if (errno != ENOMSG) throw_errno(fmt::format("empty message queue {}", id));
}

void make_queue(const image::SystemVQueueT& queue) {
  const image::SystemVObjectT& object = *queue.object;
  msqid_ds status{};
  if (::msgctl(object.id, IPC_STAT, &status) == 0 && status.msg_perm.__key == object.key)
    return empty_queue(object.id, status.msg_qbytes);
  make_with_id({.what = "message queue",
                .next_id_file = "msg_next_id",
                .make = [&] { return ::msgget(object.key, IPC_CREAT | IPC_EXCL | 0600); },
                .remove = [](int id) { ::msgctl(id, IPC_RMID, nullptr); }},
               object);
  if (::msgctl(object.id, IPC_STAT, &status) != 0)
    throw_errno(fmt::format("look at message queue {}", object.id));
  give_back(status.msg_perm, object);
  status.msg_qbytes = queue.most_bytes;
  if (::msgctl(object.id, IPC_SET, &status) != 0) throw_errno(fmt::format("own message queue {}", object.id));
}

void finish_queue(const image::SystemVQueueT& queue, ProgramCalls& program) {
  make_queue(queue);
  for (const auto& message : queue.messages) {
    std::vector<std::byte> room(kTypeBytes + message->content.size());
    std::memcpy(room.data(), &message->kind, sizeof(message->kind));
    std::ranges::copy(std::as_bytes(std::span(message->content)), room.begin() + kTypeBytes);
    RemoteAddr address = program.place(room);
    call_or_throw(
        program, fmt::format("send the messages of queue {} again", queue.object->id), SYS_msgsnd,
        {static_cast<std::uint64_t>(queue.object->id), address.value, message->content.size(), IPC_NOWAIT});
  }
}

// ---- segments

class AttachedSegment {
 public:
  explicit AttachedSegment(const image::SharedObjectT& object)
      : address_(::shmat(object.system_v->id, nullptr, 0)), size_(object.size) {
    if (address_ == reinterpret_cast<void*>(-1))
      throw_errno(fmt::format("attach {}", object.name));  // NOLINT
  }
  ~AttachedSegment() { ::shmdt(address_); }
  AttachedSegment(const AttachedSegment&) = delete;
  AttachedSegment& operator=(const AttachedSegment&) = delete;

  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(address_), size_}; }

 private:
  void* address_;
  std::size_t size_;
};

void make_segment(image::SharedObjectT& object) {
  image::SystemVObjectT& id = *object.system_v;
  resource::SystemVMaker maker{
      .what = "shared memory segment",
      .next_id_file = "shm_next_id",
      .make = [&] { return ::shmget(id.key, object.size, IPC_CREAT | IPC_EXCL | 0600); },
      .remove = [](int made) { ::shmctl(made, IPC_RMID, nullptr); }};
  if (is_removed(id)) {
    id.id = make_with_some_id(maker, id);
  } else {
    make_with_id(maker, id);
  }
  shmid_ds status{};
  give_back(status.shm_perm, id);
  if (::shmctl(id.id, IPC_SET, &status) != 0) throw_errno(fmt::format("own {}", object.name));
}

void restore_segment(image::SharedObjectT& object, const store::CheckpointReader& reader) {
  shmid_ds status{};
  const image::SystemVObjectT& id = *object.system_v;
  bool exists = ::shmctl(id.id, IPC_STAT, &status) == 0 && status.shm_perm.__key == id.key &&
                status.shm_segsz == object.size;
  if (!exists) make_segment(object);
  AttachedSegment segment(object);
  if (exists) std::ranges::fill(segment.bytes(), std::byte{0});
  for_each_piece(object, reader, [&](std::span<const std::byte> piece, std::uint64_t offset) {
    std::ranges::copy(piece, segment.bytes().subspan(offset).begin());
  });
}

}  // namespace

std::unique_ptr<image::SharedObjectT> describe_segment(std::int32_t id) {
  shmid_ds status{};
  if (::shmctl(id, IPC_STAT, &status) != 0) throw_errno(fmt::format("look at shared memory segment {}", id));
  auto object = std::make_unique<image::SharedObjectT>();
  object->kind = image::ObjectKind::SystemVSegment;
  object->device = kSegmentDevice;
  object->inode = static_cast<std::uint64_t>(id);
  object->name = fmt::format("shared memory segment {}", id);
  object->size = status.shm_segsz;
  object->mode = status.shm_perm.mode & kPermissions;
  object->system_v = std::make_unique<image::SystemVObjectT>(describe(id, status.shm_perm));
  return object;
}

void restore_segments(image::CheckpointT& checkpoint, const store::CheckpointReader& reader) {
  for (const auto& object : checkpoint.objects) {
    if (object->kind == image::ObjectKind::SystemVSegment) restore_segment(*object, reader);
  }
}

void save_system_v(std::span<const pid_t> processes, image::CheckpointT& checkpoint) {
  save_semaphores(processes, checkpoint);
  save_queues(processes, checkpoint);
}

void save_undo(std::int32_t process, ProgramCalls& program, image::CheckpointT& checkpoint) {
  for (const auto& set : checkpoint.semaphore_sets) {
    std::vector<std::int16_t> undo;
    try {
      undo = undo_of(program, *set);
    } catch (const Error& error) {
      if (error.code() != EACCES || process == checkpoint.process->pid) throw;
      continue;  // it may not use the set
    }
    if (process == checkpoint.process->pid) {
      set->undo = std::move(undo);
    } else if (std::ranges::any_of(undo, [](std::int16_t one) { return one != 0; })) {
      auto relative = std::make_unique<image::SemaphoreUndoT>();
      relative->process = process;
      relative->undo = std::move(undo);
      set->undo_of_relatives.push_back(std::move(relative));
    }
  }
}

void finish_undo(const image::CheckpointT& checkpoint, std::int32_t process, ProgramCalls& program) {
  for (const auto& set : checkpoint.semaphore_sets) finish_undo(*set, process, program);
}

void finish_system_v(const image::CheckpointT& checkpoint, ProgramCalls& program) {
  for (const auto& set : checkpoint.semaphore_sets) finish_set(*set, program);
  for (const auto& queue : checkpoint.system_v_queues) finish_queue(*queue, program);
  for (const auto& object : checkpoint.objects) {
    if (object->kind != image::ObjectKind::SystemVSegment || !is_removed(*object->system_v)) continue;
    if (::shmctl(object->system_v->id, IPC_RMID, nullptr) != 0)
      throw_errno(fmt::format("remove {}", object->name));
  }
}

}  // namespace ckpt::engine
