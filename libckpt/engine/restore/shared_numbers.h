#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace ckpt::engine {

// Numbers that processes forked from this one can write for it to read; all are -1 at first.
class SharedNumbers {
 public:
  SharedNumbers() = default;
  explicit SharedNumbers(std::size_t count);  // throws Error

  std::span<std::int32_t> all() const { return {memory_.get(), count_}; }

 private:
  std::shared_ptr<std::int32_t> memory_;
  std::size_t count_ = 0;
};

}  // namespace ckpt::engine
