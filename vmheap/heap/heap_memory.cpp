#include "heap/heap_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <utility>

#include "base/error.h"

namespace ckpt::vmheap {
namespace {

// Far from where the kernel puts programs (0x55…), libraries, stacks (0x7f…) and what sanitizers use.
constexpr std::uint64_t kFirstBase = 0x2000'0000'0000;
constexpr std::uint64_t kBaseEnd = 0x5000'0000'0000;
constexpr std::uint64_t kBaseStep = 1ULL << 36;

// The alias may have to move to become longer, while the pager uses it: it is reserved for more than it
// needs.
constexpr std::uint64_t kLeastAlias = 1ULL << 40;

void* at(std::uint64_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

HeapMemory::HeapMemory(std::uint64_t base, std::uint64_t size, bool writable)
    : fd_(::memfd_create("vmheap", MFD_CLOEXEC)),
      protection_(writable ? PROT_READ | PROT_WRITE : PROT_READ),
      size_(size) {
  if (!fd_) throw_errno("memfd_create");
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
    throw_errno(fmt::format("make a memfd of {} bytes", size));
  if (base == 0) {
    base_ = choose_base(size);
  } else {
    map_view(base, 0, size);
    base_ = base;
  }
  try {
    map_alias();
  } catch (...) {
    ::munmap(at(base_), size_);
    throw;
  }
}

HeapMemory::~HeapMemory() {
  ::munmap(at(base_), size_);
  ::munmap(alias_, alias_size_);
}

void HeapMemory::map_view(std::uint64_t base, std::uint64_t offset, std::uint64_t size) const {
  void* wanted = at(base + offset);
  void* got = ::mmap(wanted, size, protection_, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd_.get(),
                     static_cast<off_t>(offset));
  if (got == wanted) {
    // A forked child has no pager; it would read zeroes and write into frames that nobody looks after.
    ::madvise(got, size, MADV_DONTFORK);
    return;
  }
  int code = got == MAP_FAILED ? errno : EEXIST;
  if (got != MAP_FAILED) ::munmap(got, size);
  throw Error(
      fmt::format(
          "the addresses {:#x} to {:#x} of the heap are taken ({}); open it before whatever uses them",
          base + offset, base + offset + size, describe_errno(code)),
      code);
}

std::uint64_t HeapMemory::choose_base(std::uint64_t size) const {
  std::random_device random;
  for (int attempt = 0; attempt < 64; ++attempt) {
    std::uint64_t last = (kBaseEnd - kFirstBase - std::min(size, kBaseEnd - kFirstBase)) / kBaseStep;
    std::uint64_t base = kFirstBase + random() % (last + 1) * kBaseStep;
    try {
      map_view(base, 0, size);
      return base;
    } catch (const Error& error) {
      if (error.code() != EEXIST) throw;
    }
  }
  throw Error(fmt::format("no free range of addresses for a heap of {} bytes; choose a base address", size),
              EEXIST);
}

void HeapMemory::map_alias() {
  alias_size_ = std::max(size_ * 2, kLeastAlias);
  void* got = ::mmap(nullptr, alias_size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (got == MAP_FAILED) throw_errno(fmt::format("map {} bytes for the pager", alias_size_));
  alias_ = static_cast<std::byte*>(got);
  ::madvise(got, alias_size_, MADV_DONTFORK);
  ::madvise(got, alias_size_, MADV_DONTDUMP);
}

void HeapMemory::map_again() {
  UniqueFd fresh(::memfd_create("vmheap", MFD_CLOEXEC));
  if (!fresh) throw_errno("memfd_create");
  if (::ftruncate(fresh.get(), static_cast<off_t>(size_)) != 0)
    throw_errno(fmt::format("make a memfd of {} bytes", size_));
  constexpr int kFlags = MAP_SHARED | MAP_NORESERVE | MAP_FIXED;
  if (::mmap(at(base_), size_, protection_, kFlags, fresh.get(), 0) == MAP_FAILED ||
      ::mmap(alias_, alias_size_, PROT_READ | PROT_WRITE, kFlags, fresh.get(), 0) == MAP_FAILED)
    throw_errno("map the heap again");
  ::madvise(at(base_), size_, MADV_DONTFORK);
  ::madvise(alias_, alias_size_, MADV_DONTFORK);
  ::madvise(alias_, alias_size_, MADV_DONTDUMP);
  fd_ = std::move(fresh);
}

void HeapMemory::grow(std::uint64_t size) {
  if (size > alias_size_) {
    throw Error(
        fmt::format("the heap can grow to {} bytes while it is open; close and open it first", alias_size_),
        ENOMEM);
  }
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
    throw_errno(fmt::format("make a memfd of {} bytes", size));
  map_view(base_, size_, size - size_);
  size_ = size;
}

void HeapMemory::make_frames(std::uint64_t offset, std::uint64_t size) {
  // Linux 5.14. One call instead of a fault for each page.
  while (::madvise(alias_ + offset, size, MADV_POPULATE_WRITE) != 0) {
    if (errno != EINTR && errno != EAGAIN) throw_errno(fmt::format("get {} bytes of memory", size));
  }
}

void HeapMemory::free_frames(std::uint64_t offset, std::uint64_t size) {
  while (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size)) != 0) {
    if (errno != EINTR) throw_errno(fmt::format("free {} bytes of memory", size));
  }
}

void HeapMemory::unmap_view(std::uint64_t offset, std::uint64_t size) {
  if (::madvise(at(base_ + offset), size, MADV_DONTNEED) != 0)
    throw_errno(fmt::format("unmap {} bytes of the heap", size));
}

}  // namespace ckpt::vmheap
