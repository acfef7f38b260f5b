// A checkpoint of the process, which contains nothing of the heap but notes: what has changed since a commit
// that was made for it.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/error.h"
#include "heap/checkpoint_keeper.h"
#include "heap/pager.h"

namespace ckpt::vmheap {
namespace {

// What may change between the commit and the instant of the checkpoint, before writers have to wait.
constexpr std::uint64_t kRoom = (4ULL << 20) / store::kPageBytes;
constexpr std::uint64_t kLeastRoomLines = 16;
// Beyond that, for threads in system calls: those cannot wait, because they cannot be stopped meanwhile.
constexpr std::uint64_t kMoreRoomLines = 16;
constexpr std::chrono::milliseconds kLongestRest{300};

}  // namespace

bool Pager::begin_notes() {
  Lock lock(mutex_);
  if (read_only_) {
    noting_ = true;
    return false;
  }
  freeze(lock);
  pinned_copies_.clear();  // they go into the notes
  // Pinned lines, and those that are never saved, are dirty all the same.
  std::uint64_t room = dirty_pages_ + std::max(kLeastRoomLines * line_map_.longest(), kRoom);
  std::uint64_t more_room = kMoreRoomLines * line_map_.longest();
  std::uint64_t room_bytes = (room + more_room) * store::kPageBytes;
  void* bytes = ::mmap(nullptr, room_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) {
    int code = errno;
    commit_failed("no memory for notes");
    throw_errno(fmt::format("get {} bytes for a checkpoint of the heap", room_bytes), code);
  }
  notes_ = {.lines = std::vector<Line>(room + more_room),
            .count = 0,
            .bytes = static_cast<std::byte*>(bytes),
            .room = room,
            .more_room = more_room};
  noting_ = true;
  bool is_there = store_.is_for_checkpoint() && waiting_.empty() && stored_.empty() && dropped_.empty();
  if (is_there) {
    committing_ = false;
    changed_.notify_all();
  }
  return !is_there;
}

// Whether the line may become dirty now, or will not.
bool Pager::has_room_for_note(Line line, Access access) const {
  LineState state = table_.state(line);
  bool is_zero = state == LineState::kEmpty || table_.has(line, kSpecial);
  if (state == LineState::kDirty || state == LineState::kBusy) return true;
  if (access == Access::kRead && !is_zero) return true;
  return dirty_pages_ + line_map_.length(line) <= notes_.room;
}

// The thread does nothing until it is let go.
void Pager::park(Lock& lock) {
  ++parked_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return stopping_ || !held_; });
  --parked_;
  KeeperThread::renew();
}

bool Pager::write_notes() {
  Lock lock(mutex_);
  held_ = true;
  userfault_.stop();
  work_.notify_all();
  ahead_.notify_all();
  if (!changed_.wait_for(lock, kLongestRest, [&] { return parked_ == threads_.size(); })) return false;
  if (committing_ || busy_count_ != 0) return false;
  notes_.count = 0;
  std::uint64_t pages = 0;
  resident_.for_each([&](Line line) {
    if (table_.state(line) != LineState::kDirty) return;
    std::span<std::byte> bytes = alias_of(one(line));
    if (pages + line_map_.length(line) > notes_.room + notes_.more_room) return;
    std::ranges::copy(bytes, notes_.bytes + pages * store::kPageBytes);
    pages += line_map_.length(line);
    notes_.lines[notes_.count++] = line;
  });
  return pages == dirty_pages_;
}

void Pager::end_notes() {
  Lock lock(mutex_);
  if (!noting_) return;
  if (std::exchange(held_, false)) userfault_.go_on();
  noting_ = false;
  if (notes_.bytes != nullptr) ::munmap(notes_.bytes, (notes_.room + notes_.more_room) * store::kPageBytes);
  notes_ = {};
  for (Line line : std::exchange(deferred_, {})) userfault_.wake(view_of(one(line)));
  changed_.notify_all();
  work_.notify_all();
  ahead_.notify_all();
}

void Pager::stand_in() {
  memory_.map_again();
  userfault_.renew();
  userfault_.watch(memory_.view(0, memory_.size()));
}

void Pager::forget_all() {
  resident_.clear();
  table_.reset({});
  for (Lines lines : special_) for_each_line(lines, [this](Line line) { table_.set(line, kSpecial); });
  frames_used_ = 0;
  dirty_pages_ = 0;
  stored_.clear();
  stored_pages_ = 0;
  marks_.clear();
  wanted_.clear();
  unavailable_.clear();
  deferred_.clear();
  to_read_ahead_.clear();
  failure_.clear();
  store_failed_ = false;
}

void Pager::come_back() {
  Lock lock(mutex_);
  forget_all();
  std::span<const std::byte> left(notes_.bytes, (notes_.room + notes_.more_room) * store::kPageBytes);
  for (std::uint64_t i = 0; i < notes_.count; ++i) {
    Line line = notes_.lines[i];
    std::span<std::byte> bytes = alias_of(one(line));
    memory_.make_frames(line * store::kPageBytes, bytes.size());
    std::ranges::copy(left.first(bytes.size()), bytes.data());
    left = left.subspan(bytes.size());
    table_.set_state(line, LineState::kDirty);
    resident_.add(line);
    frames_used_ += line_map_.length(line);
  }
  dirty_pages_ = frames_used_;
  pin_again(lock);
  lock_identity_ = read_only_ ? std::nullopt : store_.lock_identity();
  publish();
}

// After all lines were forgotten.
void Pager::pin_again(Lock& lock) {
  for (const auto& [line, pin] : pins_) {
    table_.set(line, kPinned);
    if (!bring_to_stay(lock, line, pin.access))
      throw Error(failure_.empty() ? "a pinned line cannot be had" : failure_, EIO);
  }
}

}  // namespace ckpt::vmheap
