// Results of remote system calls: checked, and fetched from the scratch area.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "engine/tracee/tracee.h"

namespace ckpt::engine {

// Runs the call in `thread` and throws Error "<attempt> in thread N: <errno text>" if it fails.
std::int64_t remote_call_or_throw(Tracee& tracee, StoppedThread& thread, std::string_view attempt,
                                  long number, std::initializer_list<std::uint64_t> arguments);

// What a call wrote to the start of the scratch area.
template <typename T>
T scratch_value(Tracee& tracee) {
  T value{};
  tracee.read(tracee.scratch(), std::as_writable_bytes(std::span(&value, 1)));
  return value;
}

}  // namespace ckpt::engine
