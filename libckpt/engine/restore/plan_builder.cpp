#include "engine/restore/plan_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace ckpt::engine {

RemoteAddr PlanBuilder::data(std::span<const std::byte> bytes) {
  data_.resize((data_.size() + 15) & ~std::size_t{15});
  RemoteAddr address = base_ + data_offset_ + data_.size();
  data_.insert(data_.end(), bytes.begin(), bytes.end());
  return address;
}

RemoteAddr PlanBuilder::string(const std::string& text) {
  return data(std::as_bytes(std::span(text.c_str(), text.size() + 1)));
}

void PlanBuilder::add(std::string label, long number, std::initializer_list<std::uint64_t> arguments,
                      plan::Check check, std::int64_t expected) {
  plan::Operation operation{.number = static_cast<std::uint32_t>(number),
                            .check = check,
                            .arguments = {},
                            .expected = expected,
                            .result = 0};
  std::ranges::copy(arguments, operation.arguments);
  operations_.push_back(operation);
  labels_.push_back(std::move(label));
}

void PlanBuilder::expect(std::string label, long number, std::initializer_list<std::uint64_t> arguments,
                         std::int64_t result) {
  add(std::move(label), number, arguments, plan::Check::kEqual, result);
}

void PlanBuilder::expect_success(std::string label, long number,
                                 std::initializer_list<std::uint64_t> arguments) {
  add(std::move(label), number, arguments, plan::Check::kNotNegative, 0);
}

void PlanBuilder::attempt(std::string label, long number, std::initializer_list<std::uint64_t> arguments) {
  add(std::move(label), number, arguments, plan::Check::kNone, 0);
}

std::vector<std::byte> PlanBuilder::build() const {
  plan::PlanHeader header{.magic = plan::kPlanMagic,
                          .operation_count = operations_.size(),
                          .executed = 0,
                          .failed = 0,
                          .reserved = {}};
  auto operations = std::as_bytes(std::span(operations_));
  if (sizeof(header) + operations.size() > data_offset_) {
    throw Error(fmt::format("restore plan has {} operations, more than its area holds; this is a bug",
                            operations_.size()));
  }
  std::vector<std::byte> bytes(sizeof(header) + operations.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::ranges::copy(operations, bytes.begin() + sizeof(header));
  return bytes;
}

std::string PlanBuilder::dump() const {
  std::string text;
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    const plan::Operation& op = operations_[i];
    text += fmt::format("{:5} syscall {:3} ({:#x}, {:#x}, {:#x}, {:#x}, {:#x}, {:#x})  {}\n", i, op.number,
                        op.arguments[0], op.arguments[1], op.arguments[2], op.arguments[3], op.arguments[4],
                        op.arguments[5], labels_[i]);
  }
  return text;
}

}  // namespace ckpt::engine
