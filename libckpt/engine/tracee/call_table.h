// The blocking calls that a stop would change for the program, as a table.
#pragma once

#include <array>
#include <cstdint>

namespace ckpt::engine {

using CallArguments = std::array<std::uint64_t, 6>;

enum class TimeoutPlace {
  kNone,           // waits for ever
  kMilliseconds,   // an argument; negative: for ever
  kTimespec,       // an argument points to the time; null: for ever
  kSocketReceive,  // SO_RCVTIMEO of the descriptor in an argument
  kSocketSend,     // SO_SNDTIMEO
  kIoUring,        // in io_uring_getevents_arg
};

struct CallKind {
  long number;
  TimeoutPlace place;
  std::uint8_t argument;  // of the timeout or descriptor, counted from 0
  int timed_out;          // what the call returns when its time is over
  std::uint8_t remaining =
      0;  // argument where the kernel leaves the remaining time at an interruption; 0: none
  bool (*is_relative)(const CallArguments&) = nullptr;  // unset: always
};

// The row of a call that (a) returns EINTR after a stop although nothing has happened, so that it may simply
// be made again, or (b) has a relative timeout that
// would start anew if it were. Null for calls that need no
// care: an absolute deadline, no timeout and a restart by the kernel, or the remaining time written back
// (select, ppoll).
const CallKind* find_call_kind(long number);

}  // namespace ckpt::engine
