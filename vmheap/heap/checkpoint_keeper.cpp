#include "heap/checkpoint_keeper.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"
#include "heap/heap_memory.h"
#include "heap/pager.h"

#pragma weak ckpt_keep

namespace ckpt::vmheap {
namespace {

constexpr std::chrono::microseconds kLookAgain{100};

std::atomic<std::uint32_t> inside = 0;
std::atomic<std::uint32_t> closed = 0;  // waited for
thread_local unsigned own_passes = 0;
thread_local int own_slot = -1;

std::mutex mutex;  // over the heaps and the entries of `keeper`
// Those that are in `keeper`. No destructor: a heap may be closed when the program ends.
std::array<KeptHeap*, CKPT_MOST_KEPT> heaps{};
std::array<char, 1024> failure{};

// That of libckpt, preloaded or linked; none if there is none.
decltype(&ckpt_keep) find_ckpt_keep() {
  if (ckpt_keep != nullptr) return ckpt_keep;
  return reinterpret_cast<decltype(&ckpt_keep)>(::dlsym(RTLD_DEFAULT, "ckpt_keep"));
}

std::int32_t own_id() { return static_cast<std::int32_t>(::syscall(SYS_gettid)); }

// Does it for all heaps, and says what went wrong.
template <typename Action>
const char* with_each(const Action& action) {
  try {
    for (KeptHeap* heap : heaps) {
      if (heap != nullptr) action(*heap);
    }
    return nullptr;
  } catch (const std::exception& error) {
    std::snprintf(failure.data(), failure.size(), "%s", error.what());
    return failure.data();
  }
}

void go_on(void* /*unused*/) {
  if (Gate::is_open()) return;
  with_each([](KeptHeap& heap) { heap.go_on(); });
  Gate::open();
}

// From here to go_on() nobody else gets at `heaps`.
void keep_off(void* unused) {
  go_on(unused);
  Gate::close();
}

const char* get_ready(void* unused) {
  keep_off(unused);
  return with_each([](KeptHeap& heap) { heap.get_ready(); });
}

const char* settle(void* /*unused*/) {
  bool settled = true;
  const char* cause = with_each([&settled](KeptHeap& heap) { settled = settled && heap.settle(); });
  if (cause != nullptr || settled) return cause;
  return "a heap does not come to rest, threads wait for it; try again later";
}

const char* stand_in(void* /*unused*/) {
  return with_each([](KeptHeap& heap) { heap.stand_in(); });
}

const char* come_back(void* unused) {
  const char* cause = with_each([](KeptHeap& heap) { heap.come_back(); });
  if (cause == nullptr) go_on(unused);
  return cause;
}

ckpt_keeper keeper = {.keep_off = keep_off,
                      .get_ready = get_ready,
                      .settle = settle,
                      .go_on = go_on,
                      .stand_in = stand_in,
                      .come_back = come_back,
                      .argument = nullptr,
                      .application = nullptr,
                      .threads = {},
                      .kept = {}};

}  // namespace

// ---- the gate

Gate::Pass::Pass() {
  if (own_passes++ != 0) return;
  for (;;) {
    inside.fetch_add(1);
    if (closed.load() == 0) return;
    inside.fetch_sub(1);
    closed.wait(1);
  }
}

Gate::Pass::~Pass() {
  if (--own_passes == 0) inside.fetch_sub(1);
}

bool Gate::try_enter() {
  inside.fetch_add(1);
  if (own_passes != 0 || closed.load() == 0) return true;
  inside.fetch_sub(1);
  return false;
}

void Gate::entered() { inside.fetch_add(1); }
void Gate::left() { inside.fetch_sub(1); }

void Gate::close() {
  closed = 1;
  while (inside.load() != 0) std::this_thread::sleep_for(kLookAgain);
}

bool Gate::is_open() { return closed.load() == 0; }

void Gate::open() {
  closed = 0;
  closed.notify_all();
}

// ---- threads

KeeperThread::KeeperThread() {
  for (int slot = 0; slot < CKPT_MOST_KEEPER_THREADS && own_slot < 0; ++slot) {
    std::int32_t none = 0;
    bool taken = std::atomic_ref(keeper.threads[slot]).compare_exchange_strong(none, own_id());
    if (taken) own_slot = slot;
  }
}

KeeperThread::~KeeperThread() {
  if (own_slot >= 0) std::atomic_ref(keeper.threads[own_slot]).store(0);
  own_slot = -1;
}

void KeeperThread::renew() {
  if (own_slot >= 0) std::atomic_ref(keeper.threads[own_slot]).store(own_id());
}

// ---- heaps

KeptHeap::KeptHeap(LineStore& store, HeapMemory& memory, Pager& pager, Sharing sharing)
    : store_(store), memory_(memory), pager_(pager), sharing_(sharing) {
  std::filesystem::path directory = std::filesystem::canonical(store.application().path());
  location_ = {.directory = directory.parent_path(), .name = directory.filename()};
  std::lock_guard lock(mutex);
  for (std::size_t i = 0; i < heaps.size() && kept_ == nullptr; ++i) {
    ckpt_kept& kept = keeper.kept[i];
    bool fits = directory.native().size() < sizeof kept.directory && location_.name.size() < sizeof kept.name;
    if (heaps.at(i) != nullptr || !fits) continue;
    std::ranges::copy(location_.name, kept.name);
    kept.name[location_.name.size()] = '\0';
    directory.native().copy(kept.directory, directory.native().size());
    kept.directory[directory.native().size()] = '\0';
    heaps.at(i) = this;
    kept_ = &kept;
  }
  if (kept_ == nullptr) return;  // whoever makes a checkpoint will meet descriptors that it cannot carry over
  describe();
  // Where nobody makes checkpoints that is refused, and nothing is lost.
  if (auto keep = find_ckpt_keep(); keep != nullptr) keep(&keeper);
}

KeptHeap::~KeptHeap() {
  std::lock_guard lock(mutex);
  std::ranges::replace(heaps, this, static_cast<KeptHeap*>(nullptr));
  if (kept_ != nullptr) *kept_ = {};
}

void KeptHeap::describe() {
  ByteRange view = memory_.view(0, memory_.size());
  ByteRange alias = memory_.alias_range();
  kept_->ranges[0][0] = view.begin;
  kept_->ranges[0][1] = view.end();
  kept_->ranges[1][0] = alias.begin;
  kept_->ranges[1][1] = alias.end();
  std::ranges::fill(kept_->descriptors, -1);
  kept_->descriptors[0] = memory_.number();
  kept_->descriptors[1] = pager_.userfault().number();
  kept_->version = store_.version();
}

void KeptHeap::get_ready() {
  if (pager_.begin_notes()) pager_.finish_commit(CommitFor::kCheckpoint, keeper.application);
  describe();
}

bool KeptHeap::settle() { return pager_.write_notes(); }
void KeptHeap::go_on() { pager_.end_notes(); }

void KeptHeap::stand_in() {
  pager_.stand_in();
  describe();
}

void KeptHeap::come_back() {
  HeapGeometry geometry = store_.geometry();
  try {
    store_.reopen(location_, sharing_, kept_->version);
    store_.set_geometry(geometry);
  } catch (const Error& error) {
    throw Error(fmt::format("the program's heap cannot be brought back to its version {}: {}", kept_->version,
                            error.what()),
                error.code());
  }
  pager_.come_back();
}

}  // namespace ckpt::vmheap
