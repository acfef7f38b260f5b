#include "engine/resource/pty_bytes.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/terminal_modes.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::chrono::seconds kDeadline{2};

bool is_readable(int fd) { return (poll_now(fd, POLLIN) & POLLIN) != 0; }

// To the end, or to the hang-up (EIO).
std::vector<std::uint8_t> read_waiting(int fd) {
  std::vector<std::uint8_t> bytes;
  std::array<std::uint8_t, 4096> buffer;
  while (is_readable(fd)) {
    ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got == 0 || (got < 0 && (errno == EIO || errno == EAGAIN))) break;
    if (got < 0) throw_errno("read what waits in a pseudo-terminal");
    bytes.insert(bytes.end(), buffer.begin(), buffer.begin() + got);
  }
  return bytes;
}

void write_all(int fd, const std::vector<std::uint8_t>& bytes) {
  auto give_up = std::chrono::steady_clock::now() + kDeadline;
  for (std::size_t done = 0; done < bytes.size();) {
    ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno != EAGAIN) throw_errno("put back what waited in a pseudo-terminal");
    if (put > 0) done += static_cast<std::size_t>(put);
    if (done == bytes.size()) return;
    if (std::chrono::steady_clock::now() > give_up)
      throw Error("a pseudo-terminal does not take what waited in it; read from it before the checkpoint");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// Only whole lines are counted where lines are told apart; the beginning of another one passes with them.
std::size_t countable(const std::vector<std::uint8_t>& bytes, bool by_line) {
  if (!by_line) return bytes.size();
  auto newline = std::find(bytes.rbegin(), bytes.rend(), static_cast<std::uint8_t>('\n'));
  return static_cast<std::size_t>(bytes.rend() - newline);
}

// The terminal holds at most 4095 bytes for a reader; what exceeds that stays in between, as it did before.
void await_arrival(int slave, std::size_t count) {
  constexpr std::size_t kRoom = 2048;
  auto give_up = std::chrono::steady_clock::now() + kDeadline;
  for (int waiting = 0;;) {
    is_readable(slave);
    if (::ioctl(slave, FIONREAD, &waiting) != 0) throw_errno("count what waits in a pseudo-terminal");
    if (static_cast<std::size_t>(waiting) >= std::min(count, kRoom)) return;
    if (std::chrono::steady_clock::now() > give_up) throw Error("a pseudo-terminal lost what waited in it");
  }
}

}  // namespace

PtyBytes take_bytes(int master, int slave) {
  PtyBytes bytes;
  TransparentModes modes(master);
  bytes.to_master = read_waiting(master);
  if (slave < 0) return bytes;
  modes.read_all();
  bytes.to_slave = read_waiting(slave);
  modes.keep_lines();
  return bytes;
}

void put_bytes(int master, int slave, const PtyBytes& bytes) {
  if (bytes.to_slave.empty() && bytes.to_master.empty()) return;
  TransparentModes modes(master);
  write_all(slave, bytes.to_master);
  write_all(master, bytes.to_slave);
  await_arrival(slave, countable(bytes.to_slave, modes.by_line()));
}

}  // namespace ckpt::engine::resource
