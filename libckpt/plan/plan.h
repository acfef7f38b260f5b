// A plan: raw system calls that one thread of the process being rebuilt executes by itself, in order.
//
// Layout in the target's memory, little-endian, at a page boundary (all addresses absolute, in the target):
//   offset 0                PlanHeader (64 bytes)
//   offset 64               Operation[operation_count], 72 bytes each
//   after that              data that operations point to (16-aligned blobs)
//
// The executor stops (int3) after the last operation or at the first whose result is not as expected; the
// header then says where it stopped. Number and layout of fields never change without a new kPlanMagic:
// engine and restorer are built together, and the magic catches a mixture of two builds.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ckpt::plan {

inline constexpr std::uint64_t kPlanMagic = 0x31304e414c504b43;  // "CKPLAN01"

enum class Check : std::uint32_t {
  kNone = 0,         // any result will do
  kEqual = 1,        // result == expected
  kNotNegative = 2,  // result >= 0 (as a signed number, errors are -4095..-1)
};

struct Operation {
  std::uint32_t number;  // system call
  Check check;
  std::uint64_t arguments[6];
  std::int64_t expected;
  std::int64_t result;  // written by the executor
};
static_assert(sizeof(Operation) == 72 && offsetof(Operation, arguments) == 8 &&
              offsetof(Operation, expected) == 56 && offsetof(Operation, result) == 64);

struct PlanHeader {
  std::uint64_t magic;
  std::uint64_t operation_count;
  std::uint64_t executed;  // operations that ran; operation_count when all succeeded
  std::uint64_t failed;    // 1: operation executed - 1 had an unexpected result
  std::uint64_t reserved[4];
};
static_assert(sizeof(PlanHeader) == 64);

}  // namespace ckpt::plan
