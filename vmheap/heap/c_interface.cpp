#include <cerrno>
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

void* or_no_memory(void* memory) {
  if (memory == nullptr) throw ckpt::Error("the heap is full; grow it or free something", ENOMEM);
  return memory;
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
    }
    auto opened = open.read_only ? ckpt::vmheap::Heap::open(directory, open)
                                 : ckpt::vmheap::Heap::open_or_create(directory, create, open);
    return new vmheap{std::move(opened)};
  });
}

void vmheap_close(vmheap* heap) { delete heap; }

void* vmheap_base(const vmheap* heap) { return heap->heap->base(); }
uint64_t vmheap_size(const vmheap* heap) { return heap->heap->size(); }

int vmheap_grow(vmheap* heap, uint64_t size, uint32_t line_bytes) {
  return guarded(-1, [&] {
    heap->heap->grow(size, line_bytes);
    return 0;
  });
}

int vmheap_set_line_bytes(vmheap* heap, const void* begin, size_t size, uint32_t line_bytes) {
  return guarded(-1, [&] {
    heap->heap->set_line_bytes(begin, size, line_bytes);
    return 0;
  });
}

uint64_t vmheap_commit(vmheap* heap) {
  return guarded<uint64_t>(0, [&] { return heap->heap->commit(); });
}

int vmheap_roll_back(vmheap* heap, uint64_t version) {
  return guarded(-1, [&] {
    heap->heap->roll_back(version == 0 ? std::nullopt : std::optional(version));
    return 0;
  });
}

void* vmheap_allocate(vmheap* heap, size_t size) {
  return guarded<void*>(nullptr, [&] { return or_no_memory(heap->heap->allocate(size)); });
}

void* vmheap_reallocate(vmheap* heap, void* memory, size_t size) {
  return guarded<void*>(nullptr, [&] { return or_no_memory(heap->heap->reallocate(memory, size)); });
}

void vmheap_free(vmheap* heap, void* memory) {
  guarded(0, [&] {
    heap->heap->deallocate(memory);
    return 0;
  });
}

void* vmheap_root(const vmheap* heap, const char* name) {
  errno = 0;
  return guarded<void*>(nullptr, [&] { return heap->heap->root(name); });
}

int vmheap_set_root(vmheap* heap, const char* name, void* address) {
  return guarded(-1, [&] {
    heap->heap->set_root(name, address);
    return 0;
  });
}

int vmheap_pin(vmheap* heap, const void* begin, size_t size, int writing) {
  return guarded(-1, [&] {
    heap->heap->pin(begin, size,
                    writing != 0 ? ckpt::vmheap::PinFor::kWriting : ckpt::vmheap::PinFor::kReading);
    return 0;
  });
}

int vmheap_unpin(vmheap* heap, const void* begin, size_t size) {
  return guarded(-1, [&] {
    heap->heap->unpin(begin, size);
    return 0;
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
