#include "engine/restore/shared_numbers.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/error.h"

namespace ckpt::engine {

SharedNumbers::SharedNumbers(std::size_t count) {
  if (count == 0) return;
  std::size_t size_bytes = count * sizeof(std::int32_t);
  void* memory = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw_errno("map memory for the builders");
  memory_ = {static_cast<std::int32_t*>(memory),
             [size_bytes](std::int32_t* numbers) { ::munmap(numbers, size_bytes); }};
  count_ = count;
  std::ranges::fill(all(), -1);
}

}  // namespace ckpt::engine
