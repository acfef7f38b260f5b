// Compiles a plan (plan/plan.h): operations with absolute addresses, and the data they point to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "base/remote_addr.h"
#include "plan/plan.h"

namespace ckpt::engine {

class PlanBuilder {
 public:
  // The plan will be placed at `base`; its data area starts `data_offset` bytes behind it (room for the
  // operations).
  PlanBuilder(RemoteAddr base, std::size_t data_offset) : base_(base), data_offset_(data_offset) {}

  RemoteAddr base() const { return base_; }

  // Adds data, 16-aligned, and returns its absolute address.
  RemoteAddr data(std::span<const std::byte> bytes);
  template <typename T>
  RemoteAddr data_of(const T& value) {
    return data(std::as_bytes(std::span(&value, 1)));
  }
  RemoteAddr string(const std::string& text);  // NUL-terminated

  // `label` says what is attempted, for errors and dumps: "mmap 7f00-7f10 rw-p /lib/x".
  void expect(std::string label, long number, std::initializer_list<std::uint64_t> arguments,
              std::int64_t result);
  void expect_success(std::string label, long number, std::initializer_list<std::uint64_t> arguments);
  void attempt(std::string label, long number, std::initializer_list<std::uint64_t> arguments);

  std::size_t operation_count() const { return operations_.size(); }
  const std::vector<std::string>& labels() const { return labels_; }
  const std::vector<plan::Operation>& operations() const { return operations_; }

  // Header and operations, to be placed at base(). Throws Error if they reach into the data area.
  std::vector<std::byte> build() const;
  // To be placed at data_base().
  const std::vector<std::byte>& data_bytes() const { return data_; }
  RemoteAddr data_base() const { return base_ + data_offset_; }
  // One line per operation, for people.
  std::string dump() const;

 private:
  void add(std::string label, long number, std::initializer_list<std::uint64_t> arguments, plan::Check check,
           std::int64_t expected);

  RemoteAddr base_;
  std::size_t data_offset_;
  std::vector<plan::Operation> operations_;
  std::vector<std::string> labels_;
  std::vector<std::byte> data_;
};

}  // namespace ckpt::engine
