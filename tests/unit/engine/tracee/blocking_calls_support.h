// Every blocking call that the kernel treats in a way of its own, as one table of specimens.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <ostream>
#include <span>

namespace ckpt::engine {

// How long each of them waits.
inline constexpr std::chrono::milliseconds kCallDuration{500};

struct BlockingCall {
  const char* name;
  long number;    // of the system call
  long (*run)();  // sets itself up and makes the call through syscall(2)
  long result;
  int error;
  bool ends_by_timeout;  // else by an event, which a helper sends when the duration is over
};

std::span<const BlockingCall> blocking_calls();

inline std::ostream& operator<<(std::ostream& out, const BlockingCall& call) { return out << call.name; }

}  // namespace ckpt::engine
