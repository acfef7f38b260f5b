#include "engine/resource/pipe_content.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/unique_fd.h"

namespace ckpt::engine::resource {
namespace {

struct PipeEnds {
  UniqueFd read_end;
  UniqueFd write_end;
};

PipeEnds make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) throw_errno("make a pipe");
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::size_t waiting_bytes(int fd, const std::string& what) {
  int count = 0;
  if (::ioctl(fd, FIONREAD, &count) != 0) throw_errno(fmt::format("count the bytes waiting in {}", what));
  return static_cast<std::size_t>(count);
}

std::uint32_t highest_capacity() {
  auto text = read_file("/proc/sys/fs/pipe-max-size");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return static_cast<std::uint32_t>(parse_unsigned(text).value_or(0));
}

void write_whole(int write_end, const std::uint8_t* bytes, std::size_t length, const std::string& what) {
  ssize_t put = ::write(write_end, bytes, length);
  if (put == static_cast<ssize_t>(length)) return;
  if (put < 0 && errno != EAGAIN) throw_errno(fmt::format("fill {}", what));
  throw Error(
      fmt::format("the bytes waiting in {} do not fit into the pipe that this user may make; raise "
                  "/proc/sys/fs/pipe-max-size or pipe-user-pages-soft",
                  what));
}

// Non-blocking for as long as we write, without a trace on the description.
class WriteFlags {
 public:
  WriteFlags(int fd, int flags) : fd_(fd), before_(::fcntl(fd, F_GETFL)) {
    if (before_ < 0 || ::fcntl(fd, F_SETFL, flags) != 0) throw_errno("set the status flags of a pipe");
  }
  ~WriteFlags() { ::fcntl(fd_, F_SETFL, before_); }
  WriteFlags(const WriteFlags&) = delete;
  WriteFlags& operator=(const WriteFlags&) = delete;

 private:
  int fd_;
  int before_;
};

}  // namespace

std::uint32_t pipe_capacity(int fd) {
  int capacity = ::fcntl(fd, F_GETPIPE_SZ);
  if (capacity < 0) throw_errno("read the capacity of a pipe");
  return static_cast<std::uint32_t>(capacity);
}

// tee(2) makes the private pipe refer to the same buffers: the original keeps its bytes, whatever we then
// read.
PipeContent peek_pipe(int read_end, bool packet_mode, const std::string& what) {
  PipeContent content;
  content.capacity = pipe_capacity(read_end);
  std::size_t expected = waiting_bytes(read_end, what);
  if (expected == 0) return content;
  PipeEnds own = make_pipe();
  set_pipe_capacity(own.write_end.get(), content.capacity);
  ssize_t copied = ::tee(read_end, own.write_end.get(), INT_MAX, SPLICE_F_NONBLOCK);
  if (copied < 0) throw_errno(fmt::format("look into {}", what));
  if (static_cast<std::size_t>(copied) != expected) {
    throw Error(
        fmt::format("{} holds more than a pipe of this user can; raise /proc/sys/fs/pipe-max-size or "
                    "pipe-user-pages-soft, or checkpoint when it is emptier",
                    what));
  }
  content.bytes.resize(expected);
  for (std::size_t done = 0; done < expected;) {
    ssize_t got = ::read(own.read_end.get(), content.bytes.data() + done, expected - done);
    if (got <= 0) throw_errno(fmt::format("read the copy of {}", what));
    if (packet_mode) content.packets.push_back(static_cast<std::uint32_t>(got));
    done += static_cast<std::size_t>(got);
  }
  return content;
}

std::uint32_t set_pipe_capacity(int fd, std::uint32_t capacity) {
  std::uint32_t current = pipe_capacity(fd);
  for (std::uint32_t wanted : {capacity, std::min(capacity, highest_capacity())}) {
    if (wanted == current) return current;
    int reached = ::fcntl(fd, F_SETPIPE_SZ, static_cast<int>(wanted));
    if (reached > 0) return static_cast<std::uint32_t>(reached);
    if (errno != EPERM) throw_errno(fmt::format("set the capacity of a pipe to {} bytes", wanted));
  }
  return current;
}

// Tried, not computed: what is permitted depends on privilege, two limits, and the user's other pipes.
std::string pipe_problem(const PipeContent& content, std::vector<std::string>* notes) {
  PipeEnds trial = make_pipe();
  std::uint32_t reached = set_pipe_capacity(trial.write_end.get(), content.capacity);
  if (reached >= content.capacity) return {};
  try {
    fill_pipe(trial.write_end.get(), content, "it");
  } catch (const Error& error) {
    return error.what();
  }
  if (notes != nullptr) {
    notes->push_back(fmt::format("a pipe of {} bytes is restored with {}, the most that this user may have",
                                 content.capacity, reached));
  }
  return {};
}

void fill_pipe(int write_end, const PipeContent& content, const std::string& what) {
  if (content.bytes.empty()) return;
  WriteFlags flags(write_end, content.packets.empty() ? O_NONBLOCK : O_NONBLOCK | O_DIRECT);
  if (content.packets.empty()) {
    write_whole(write_end, content.bytes.data(), content.bytes.size(), what);
    return;
  }
  std::size_t done = 0;
  for (std::uint32_t length : content.packets) {
    if (length > content.bytes.size() - done) {
      throw Error(
          fmt::format("the packets of {} are longer than its content; the checkpoint is damaged", what));
    }
    write_whole(write_end, content.bytes.data() + done, length, what);
    done += length;
  }
}

}  // namespace ckpt::engine::resource
