#include "heap/line_table.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include "base/error.h"

namespace ckpt::vmheap {

LineTable::LineTable(std::uint64_t most_pages) : size_(most_pages) {
  void* got =
      ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) throw_errno(fmt::format("reserve a table of {} pages", size_));
  entries_ = static_cast<std::uint8_t*>(got);
}

LineTable::~LineTable() { ::munmap(entries_, size_); }

void LineTable::reset(const std::vector<Line>& keep) {
  std::vector<std::uint8_t> kept;
  kept.reserve(keep.size());
  for (Line line : keep) kept.push_back(entries_[line]);
  if (::madvise(entries_, size_, MADV_DONTNEED) != 0) throw_errno("clear the table of lines");
  for (std::size_t i = 0; i < keep.size(); ++i) entries_[keep[i]] = kept[i];
}

}  // namespace ckpt::vmheap
