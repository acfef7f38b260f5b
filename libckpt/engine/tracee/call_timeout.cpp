#include "engine/tracee/call_timeout.h"

#include <linux/io_uring.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/pidfd.h"
#include "base/remote_addr.h"
#include "base/unique_fd.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {
namespace {

using std::chrono::nanoseconds;

// linux/io_uring.h newer than the system's.
constexpr std::uint64_t kEnterExtArg = 1U << 3;
constexpr std::uint64_t kEnterAbsTimer = 1U << 5;
constexpr std::uint64_t kEnterExtArgReg = 1U << 6;

// Beyond this a timeout is as good as none, and sums with it stay within 64 bits.
constexpr std::chrono::seconds kLongest = std::chrono::hours(24 * 365 * 50);

template <typename T>
std::optional<T> read_value(pid_t pid, std::uint64_t address) {
  T value{};
  if (address == 0) return std::nullopt;
  try {
    read_remote(pid, RemoteAddr{address}, std::as_writable_bytes(std::span(&value, 1)));
  } catch (const Error&) {
    return std::nullopt;
  }
  return value;
}

std::optional<nanoseconds> duration(std::int64_t seconds, nanoseconds fraction) {
  if (seconds < 0 || seconds > kLongest.count()) return std::nullopt;
  return std::chrono::seconds(seconds) + fraction;
}

std::optional<nanoseconds> timespec_at(pid_t pid, std::uint64_t address) {
  auto time = read_value<timespec>(pid, address);
  if (!time) return std::nullopt;
  return duration(time->tv_sec, nanoseconds(time->tv_nsec));
}

std::optional<nanoseconds> socket_timeout(pid_t pid, std::uint64_t descriptor, int option) {
  UniqueFd socket = copy_descriptor_of(pid, static_cast<int>(descriptor));
  timeval time{};
  socklen_t size = sizeof(time);
  if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, option, &time, &size) != 0) return std::nullopt;
  if (time.tv_sec == 0 && time.tv_usec == 0) return std::nullopt;
  return duration(time.tv_sec, std::chrono::microseconds(time.tv_usec));
}

bool io_uring_times_out(const CallArguments& arguments) {
  std::uint64_t flags = arguments[3];
  // A wait description in registered memory (kEnterExtArgReg) is given by offset, not by address.
  return (flags & kEnterExtArg) != 0 && (flags & (kEnterAbsTimer | kEnterExtArgReg)) == 0;
}

std::optional<nanoseconds> io_uring_timeout(pid_t pid, const CallArguments& arguments) {
  if (!io_uring_times_out(arguments)) return std::nullopt;
  auto wait = read_value<io_uring_getevents_arg>(pid, arguments[4]);
  if (!wait) return std::nullopt;
  return timespec_at(pid, wait->ts);
}

}  // namespace

bool may_time_out(const CallKind& kind, const CallArguments& arguments) {
  if (kind.is_relative != nullptr && !kind.is_relative(arguments)) return false;
  std::uint64_t argument = arguments[kind.argument];
  switch (kind.place) {
    case TimeoutPlace::kNone:
      return false;
    case TimeoutPlace::kMilliseconds:
      return static_cast<std::int32_t>(argument) >= 0;
    case TimeoutPlace::kTimespec:
      return argument != 0;
    case TimeoutPlace::kSocketReceive:
    case TimeoutPlace::kSocketSend:
      return true;
    case TimeoutPlace::kIoUring:
      return io_uring_times_out(arguments);
  }
  return false;
}

std::optional<nanoseconds> timeout_of_call(pid_t pid, const CallKind& kind, const CallArguments& arguments) {
  if (!may_time_out(kind, arguments)) return std::nullopt;
  std::uint64_t argument = arguments[kind.argument];
  switch (kind.place) {
    case TimeoutPlace::kNone:
      return std::nullopt;
    case TimeoutPlace::kMilliseconds:
      return std::chrono::milliseconds(static_cast<std::int32_t>(argument));
    case TimeoutPlace::kTimespec:
      return timespec_at(pid, argument);
    case TimeoutPlace::kSocketReceive:
      return socket_timeout(pid, argument, SO_RCVTIMEO);
    case TimeoutPlace::kSocketSend:
      return socket_timeout(pid, argument, SO_SNDTIMEO);
    case TimeoutPlace::kIoUring:
      return io_uring_timeout(pid, arguments);
  }
  return std::nullopt;
}

std::optional<nanoseconds> remaining_of_call(pid_t pid, const CallKind& kind,
                                             const CallArguments& arguments) {
  if (kind.remaining == 0 || !may_time_out(kind, arguments)) return std::nullopt;
  return timespec_at(pid, arguments[kind.remaining]);
}

}  // namespace ckpt::engine
