#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "vmheap/heap.h"
#include "vmheap/vmheap.h"

struct vmheap {
  std::unique_ptr<ckpt::vmheap::Heap> heap;
};

namespace {

thread_local std::string last_error;

// Runs `action`; on an exception notes it and returns `failed`.
template <typename Result, typename Action>
Result guarded(Result failed, const Action& action) noexcept {
  int code = EIO;
  try {
    return action();
  } catch (const ckpt::Error& error) {
    last_error = error.what();
    if (error.code() != 0) code = error.code();
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    code = ENOMEM;
  } catch (const std::exception& error) {
    last_error = error.what();
  }
  errno = code;
  return failed;
}

// For what only says whether it was done.
template <typename Action>
int done(const Action& action) noexcept {
  return guarded(-1, [&] {
    action();
    return 0;
  });
}

template <typename Action>
void* allocated(const Action& action) noexcept {
  return guarded<void*>(nullptr, [&] {
    void* memory = action();
    if (memory == nullptr) throw ckpt::Error("the heap is full; grow it or free something", ENOMEM);
    return memory;
  });
}

using ckpt::vmheap::AccessPattern;
using ckpt::vmheap::RangeKind;

// In the order of vmheap_pattern and vmheap_kind.
constexpr std::array kPatterns{AccessPattern::kNormal, AccessPattern::kSequential, AccessPattern::kRandom};
constexpr std::array kKinds{RangeKind::kNormal, RangeKind::kSystem, RangeKind::kNursery};

// Callers in C may pass any number.
template <typename Value, std::size_t count>
Value one_of(const std::array<Value, count>& values, unsigned number, const char* problem) {
  if (number >= count) throw ckpt::Error(problem, EINVAL);
  return values.at(number);
}

}  // namespace

extern "C" {

vmheap* vmheap_open(const char* directory, const vmheap_options* options) {
  return guarded<vmheap*>(nullptr, [&] {
    ckpt::vmheap::CreateOptions create;
    ckpt::vmheap::OpenOptions open;
    if (options != nullptr) {
      if (options->size != 0) create.size = options->size;
      if (options->line_bytes != 0) create.line_bytes = options->line_bytes;
      if (options->keep != 0) open.keep = options->keep;
      if (options->resident_limit != 0) open.resident_limit = options->resident_limit;
      if (options->name != nullptr) open.name = options->name;
      open.read_only = options->read_only != 0;
      if (options->base != 0) create.base = options->base;
      if (options->version != 0) open.version = options->version;
      if (options->fault_threads != 0) open.fault_threads = options->fault_threads;
    }
    auto opened = open.read_only ? ckpt::vmheap::Heap::open(directory, open)
                                 : ckpt::vmheap::Heap::open_or_create(directory, create, open);
    return new vmheap{std::move(opened)};
  });
}

void vmheap_close(vmheap* heap) { delete heap; }

void* vmheap_base(const vmheap* heap) { return heap->heap->base(); }
uint64_t vmheap_size(const vmheap* heap) { return heap->heap->size(); }

int vmheap_contains(const vmheap* heap, const void* address) { return heap->heap->contains(address) ? 1 : 0; }
int vmheap_serves_system_calls(const vmheap* heap) { return heap->heap->serves_system_calls() ? 1 : 0; }

int vmheap_set_resident_limit(vmheap* heap, uint64_t bytes) {
  return done([&] { heap->heap->set_resident_limit(bytes); });
}

int vmheap_grow(vmheap* heap, uint64_t size, uint32_t line_bytes) {
  return done([&] { heap->heap->grow(size, line_bytes); });
}

int vmheap_set_line_bytes(vmheap* heap, const void* begin, size_t size, uint32_t line_bytes) {
  return done([&] { heap->heap->set_line_bytes(begin, size, line_bytes); });
}

uint64_t vmheap_commit(vmheap* heap) {
  return guarded<uint64_t>(0, [&] { return heap->heap->commit(); });
}

int vmheap_commit_in_background(vmheap* heap) {
  return done([&] { heap->heap->commit_in_background(); });
}

uint64_t vmheap_wait_for_commit(vmheap* heap) {
  return guarded<uint64_t>(0, [&] { return heap->heap->wait_for_commit(); });
}

int vmheap_committing(const vmheap* heap) { return heap->heap->committing() ? 1 : 0; }

int vmheap_roll_back(vmheap* heap, uint64_t version) {
  return done([&] { heap->heap->roll_back(version == 0 ? std::nullopt : std::optional(version)); });
}

int vmheap_versions(const vmheap* heap, vmheap_version* versions, int room) {
  return guarded(-1, [&] {
    std::vector<ckpt::vmheap::HeapVersion> all = heap->heap->versions();
    for (std::size_t i = 0; i < std::min(all.size(), static_cast<std::size_t>(std::max(room, 0))); ++i) {
      versions[i] = {.version = all[i].version,
                     .parent = all[i].parent,
                     .created_realtime_ns = all[i].created_realtime_ns,
                     .pages_written = all[i].pages_written,
                     .bytes_written = all[i].bytes_written,
                     .disk_bytes = all[i].disk_bytes,
                     .of_checkpoint = all[i].of_checkpoint ? 1 : 0};
    }
    return static_cast<int>(all.size());
  });
}

int vmheap_remove_version(vmheap* heap, uint64_t version) {
  return done([&] { heap->heap->remove_version(version); });
}

int vmheap_tag(vmheap* heap, uint64_t version, const char* label) {
  return done([&] { heap->heap->tag(version, label); });
}

int vmheap_untag(vmheap* heap, const char* label) {
  return done([&] { heap->heap->untag(label); });
}

uint64_t vmheap_tagged(const vmheap* heap, const char* label) {
  return guarded<uint64_t>(0, [&] { return heap->heap->tagged(label); });
}

void* vmheap_allocate(vmheap* heap, size_t size) {
  return allocated([&] { return heap->heap->allocate(size); });
}

void* vmheap_allocate_aligned(vmheap* heap, size_t size, size_t alignment) {
  return allocated([&] { return heap->heap->allocate(size, alignment); });
}

void* vmheap_allocate_zeroed(vmheap* heap, size_t size) {
  return allocated([&] { return heap->heap->allocate_zeroed(size); });
}

void* vmheap_reallocate(vmheap* heap, void* memory, size_t size) {
  return allocated([&] { return heap->heap->reallocate(memory, size); });
}

void vmheap_free(vmheap* heap, void* memory) {
  done([&] { heap->heap->deallocate(memory); });
}

size_t vmheap_usable_size(const vmheap* heap, const void* memory) {
  return guarded<size_t>(0, [&] { return heap->heap->usable_size(memory); });
}

void* vmheap_root(const vmheap* heap, const char* name) {
  errno = 0;
  return guarded<void*>(nullptr, [&] { return heap->heap->root(name); });
}

int vmheap_set_root(vmheap* heap, const char* name, void* address) {
  return done([&] { heap->heap->set_root(name, address); });
}

int vmheap_pin(vmheap* heap, const void* begin, size_t size, int writing) {
  return done([&] {
    heap->heap->pin(begin, size,
                    writing != 0 ? ckpt::vmheap::PinFor::kWriting : ckpt::vmheap::PinFor::kReading);
  });
}

int vmheap_unpin(vmheap* heap, const void* begin, size_t size) {
  return done([&] { heap->heap->unpin(begin, size); });
}

int vmheap_will_need(vmheap* heap, const void* begin, size_t size) {
  return done([&] { heap->heap->will_need(begin, size); });
}

int vmheap_cold(vmheap* heap, const void* begin, size_t size) {
  return done([&] { heap->heap->cold(begin, size); });
}

int vmheap_discard(vmheap* heap, const void* begin, size_t size) {
  return done([&] { heap->heap->discard(begin, size); });
}

int vmheap_set_pattern(vmheap* heap, const void* begin, size_t size, vmheap_pattern pattern) {
  return done([&] {
    heap->heap->set_pattern(
        begin, size, one_of(kPatterns, pattern, "there is no such access pattern; see vmheap_pattern"));
  });
}

int vmheap_set_kind(vmheap* heap, const void* begin, size_t size, vmheap_kind kind) {
  return done([&] {
    heap->heap->set_kind(begin, size,
                         one_of(kKinds, kind, "there is no such kind of range; see vmheap_kind"));
  });
}

const char* vmheap_statistics(const vmheap* heap) {
  thread_local std::vector<char> text;
  bool done = guarded(false, [&] {
    std::string json = heap->heap->statistics().json();
    text.assign(json.c_str(), json.c_str() + json.size() + 1);
    return true;
  });
  return done ? text.data() : nullptr;
}

const char* vmheap_error(void) { return last_error.c_str(); }
}
