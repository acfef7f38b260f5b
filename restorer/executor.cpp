#include "executor.h"

#include "raw_syscall.h"

namespace ckpt::restorer {
namespace {

bool as_expected(const plan::Operation& operation) {
  switch (operation.check) {
    case plan::Check::kNone:
      return true;
    case plan::Check::kEqual:
      return operation.result == operation.expected;
    case plan::Check::kNotNegative:
      return operation.result >= 0 || operation.result < -4095;
  }
  return false;
}

}  // namespace

void execute(plan::PlanHeader* header) {
  if (header->magic != plan::kPlanMagic) return;
  auto* operations = reinterpret_cast<plan::Operation*>(header + 1);
  for (std::uint64_t i = 0; i < header->operation_count; ++i) {
    plan::Operation& operation = operations[i];
    operation.result = raw_syscall(operation.number, operation.arguments);
    header->executed = i + 1;
    if (!as_expected(operation)) {
      header->failed = 1;
      return;
    }
  }
}

}  // namespace ckpt::restorer
