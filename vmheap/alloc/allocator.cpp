#include "alloc/allocator.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "alloc/size_classes.h"
#include "base/error.h"

namespace ckpt::vmheap {
namespace {

constexpr std::size_t kMostAlignment = 4096;

// Threads take arenas in turn; each stays with its own.
std::uint32_t own_arena() {
  static std::atomic<std::uint32_t> next{0};
  thread_local const std::uint32_t own = next++ % kArenas;
  return own;
}

std::uint64_t reserved_spans(std::uint64_t map_bytes) {
  return (kSuperblockBytes + map_bytes + kSpanBytes - 1) / kSpanBytes;
}

}  // namespace

void Allocator::format(std::byte* base, std::uint64_t size) {
  auto* super = reinterpret_cast<Superblock*>(base);
  std::uint64_t map_bytes = std::max<std::uint64_t>(size / kSpanBytes * kMostGrowth, 4096);
  std::uint64_t reserved = reserved_spans(map_bytes);
  super->size = size;
  super->map_bytes = map_bytes;
  super->next_fit = reserved;
  std::memset(base + kSuperblockBytes, static_cast<int>(SpanUse::kReserved), reserved);
  super->magic = kSuperblockMagic;
}

Allocator::Allocator(std::byte* base, std::uint64_t size, Discard discard, Prepare prepare)
    : base_(base), discard_(std::move(discard)), prepare_(std::move(prepare)) {
  if (super().magic != kSuperblockMagic || super().size > size ||
      super().size / kSpanBytes > super().map_bytes) {
    throw Error("the heap's first bytes are not those of an allocator; go back to a version that is sound",
                EBADMSG);
  }
}

void Allocator::grow(std::uint64_t size) {
  std::lock_guard lock(span_lock_);
  if (size / kSpanBytes > super().map_bytes) {
    throw Error(fmt::format("the heap can grow to {} bytes; export it to a larger one",
                            super().map_bytes * kSpanBytes),
                EINVAL);
  }
  super().size = std::max(size, super().size);
}

void* Allocator::allocate(std::size_t size, std::size_t alignment) {
  if (!std::has_single_bit(alignment) || alignment > kMostAlignment) return nullptr;
  size = std::max<std::size_t>(size, 1);
  std::size_t rounded = alignment <= 16 ? size : std::bit_ceil(std::max(size, alignment));
  if (rounded <= kMostSmallBytes) return allocate_small(class_of(rounded));
  return allocate_large(size, alignment);
}

void* Allocator::allocate_small(std::size_t size_class) {
  std::uint32_t own = own_arena();
  std::lock_guard lock(arena_locks_[own].mutex);
  Arena& arena = super().arenas[own];
  std::uint64_t slab = arena.partial[size_class];
  if (slab == 0) slab = make_slab(own, size_class);
  return slab == 0 ? nullptr : take_object(arena, slab);
}

std::uint64_t Allocator::make_slab(std::uint32_t arena, std::size_t size_class) {
  std::uint64_t slab = take_spans(1, SpanUse::kSlab, SpanUse::kSlab);
  if (slab == 0) return 0;
  if (prepare_) prepare_(base_ + slab, kSpanBytes);
  std::uint32_t object_bytes = class_bytes(size_class);
  std::uint32_t data_offset = data_offset_of(object_bytes);
  header(slab) = {.size_class = static_cast<std::uint32_t>(size_class),
                  .arena = arena,
                  .object_bytes = object_bytes,
                  .capacity = static_cast<std::uint32_t>((kSpanBytes - data_offset) / object_bytes),
                  .used = 0,
                  .fresh = 0,
                  .free_head = 0,
                  .data_offset = data_offset};
  link(super().arenas[arena], slab);
  return slab;
}

void* Allocator::take_object(Arena& arena, std::uint64_t slab) {
  SpanHeader& span = header(slab);
  std::byte* data = base_ + slab + span.data_offset;
  std::byte* object = nullptr;
  if (span.free_head != 0) {
    object = data + std::uint64_t{span.free_head - 1} * span.object_bytes;
    std::memcpy(&span.free_head, object, sizeof span.free_head);
  } else {
    object = data + std::uint64_t{span.fresh++} * span.object_bytes;
  }
  if (++span.used == span.capacity) unlink(arena, slab);
  return object;
}

void* Allocator::allocate_large(std::size_t size, std::size_t alignment) {
  std::uint64_t data_offset = std::max(sizeof(SpanHeader), alignment);
  if (size > super().size) return nullptr;
  std::uint64_t count = (data_offset + size + kSpanBytes - 1) / kSpanBytes;
  std::uint64_t offset = take_spans(count, SpanUse::kLarge, SpanUse::kLargeRest);
  if (offset == 0) return nullptr;
  header(offset) = {.data_offset = static_cast<std::uint32_t>(data_offset), .span_count = count};
  return base_ + offset + data_offset;
}

std::uint64_t Allocator::span_of(const void* memory) const {
  return static_cast<std::uint64_t>(static_cast<const std::byte*>(memory) - base_) / kSpanBytes * kSpanBytes;
}

SpanUse Allocator::checked_use(std::uint64_t offset, const void* memory) const {
  SpanUse use = offset < super().size ? map()[offset / kSpanBytes] : SpanUse::kFree;
  if (use != SpanUse::kSlab && use != SpanUse::kLarge) {
    throw Error(fmt::format("{} was not allocated in this heap; this is a defect of the caller", memory),
                EINVAL);
  }
  return use;
}

void Allocator::deallocate(void* memory) {
  if (memory == nullptr) return;
  std::uint64_t span = span_of(memory);
  if (checked_use(span, memory) == SpanUse::kLarge) {
    free_spans(span, header(span).span_count);
    return;
  }
  std::lock_guard lock(arena_locks_[header(span).arena].mutex);
  free_object(span, memory);
}

void Allocator::free_object(std::uint64_t slab, void* memory) {
  SpanHeader& span = header(slab);
  Arena& arena = super().arenas[span.arena];
  auto index =
      (static_cast<std::uint64_t>(static_cast<std::byte*>(memory) - base_) - slab - span.data_offset) /
      span.object_bytes;
  std::memcpy(memory, &span.free_head, sizeof span.free_head);
  span.free_head = static_cast<std::uint32_t>(index + 1);
  if (span.used-- == span.capacity) link(arena, slab);
  // One empty slab per class stays, for the next object.
  bool is_only = arena.partial[span.size_class] == slab && span.next == 0;
  if (span.used > 0 || is_only) return;
  unlink(arena, slab);
  free_spans(slab, 1);
}

std::size_t Allocator::usable_size(const void* memory) const {
  std::uint64_t span = span_of(memory);
  const SpanHeader& found = header(span);
  if (checked_use(span, memory) == SpanUse::kSlab) return found.object_bytes;
  return found.span_count * kSpanBytes - found.data_offset;
}

void Allocator::link(Arena& arena, std::uint64_t slab) {
  SpanHeader& span = header(slab);
  std::uint64_t& first = arena.partial[span.size_class];
  span.previous = 0;
  span.next = first;
  if (first != 0) header(first).previous = slab;
  first = slab;
}

void Allocator::unlink(Arena& arena, std::uint64_t slab) {
  SpanHeader& span = header(slab);
  if (span.previous != 0) {
    header(span.previous).next = span.next;
  } else {
    arena.partial[span.size_class] = span.next;
  }
  if (span.next != 0) header(span.next).previous = span.previous;
}

std::uint64_t Allocator::find_free(std::uint64_t begin, std::uint64_t end, std::uint64_t count) const {
  std::uint64_t run = 0;
  for (std::uint64_t span = begin; span < end; ++span) {
    run = map()[span] == SpanUse::kFree ? run + 1 : 0;
    if (run == count) return span + 1 - count;
  }
  return 0;
}

std::uint64_t Allocator::take_spans(std::uint64_t count, SpanUse first, SpanUse rest) {
  std::lock_guard lock(span_lock_);
  std::uint64_t end = super().size / kSpanBytes;
  std::uint64_t begin = reserved_spans(super().map_bytes);
  std::uint64_t found = find_free(std::clamp(super().next_fit, begin, end), end, count);
  if (found == 0) found = find_free(begin, end, count);
  if (found == 0) return 0;
  map()[found] = first;
  std::fill_n(map() + found + 1, count - 1, rest);
  super().next_fit = found + count;
  super().bytes_allocated += count * kSpanBytes;
  return found * kSpanBytes;
}

void Allocator::free_spans(std::uint64_t offset, std::uint64_t count) {
  // Before the spans can be taken by another thread.
  discard_(base_ + offset, count * kSpanBytes);
  std::lock_guard lock(span_lock_);
  std::fill_n(map() + offset / kSpanBytes, count, SpanUse::kFree);
  super().next_fit = std::min(super().next_fit, offset / kSpanBytes);
  super().bytes_allocated -= count * kSpanBytes;
}

Root* Allocator::find_root(std::string_view name) const {
  auto& roots = super().roots;
  auto found = std::ranges::find_if(
      roots, [&](const Root& root) { return std::string_view(root.name.data()) == name; });
  return found == roots.end() ? nullptr : &*found;
}

void* Allocator::root(std::string_view name) const {
  std::lock_guard lock(root_lock_);
  const Root* found = name.empty() ? nullptr : find_root(name);
  return found == nullptr ? nullptr : reinterpret_cast<void*>(found->address);
}

void Allocator::set_root(std::string_view name, void* address) {
  if (name.empty() || name.size() >= kRootNameBytes || name.find('\0') != std::string_view::npos) {
    throw Error(fmt::format("'{}' cannot name a root; use 1 to {} bytes", name, kRootNameBytes - 1), EINVAL);
  }
  std::lock_guard lock(root_lock_);
  Root* root = find_root(name);
  if (address == nullptr) {
    if (root != nullptr) *root = {};
    return;
  }
  if (root == nullptr) root = find_root("");
  if (root == nullptr)
    throw Error(fmt::format("the heap has {} roots already; keep more in a structure of your own", kRoots));
  std::ranges::copy(name, root->name.begin());
  root->address = reinterpret_cast<std::uint64_t>(address);
}

std::vector<std::unique_lock<std::mutex>> Allocator::freeze() {
  std::vector<std::unique_lock<std::mutex>> locks;
  for (ArenaLock& arena : arena_locks_) locks.emplace_back(arena.mutex);
  locks.emplace_back(span_lock_);
  locks.emplace_back(root_lock_);
  return locks;
}

}  // namespace ckpt::vmheap
