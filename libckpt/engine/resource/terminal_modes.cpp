#include "engine/resource/terminal_modes.h"

#include <asm/termbits.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "base/error.h"

namespace ckpt::engine::resource {
namespace {

template <typename Value>
std::vector<std::uint8_t> to_bytes(const Value& value) {
  std::vector<std::uint8_t> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <typename Value>
Value from_bytes(const std::vector<std::uint8_t>& bytes) {
  Value value{};
  if (bytes.size() != sizeof value) throw Error("the settings of a terminal are damaged in the checkpoint");
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

termios2 get(int fd) {
  termios2 modes{};
  if (::ioctl(fd, TCGETS2, &modes) != 0) throw_errno("read the modes of a terminal");
  return modes;
}

void put(int fd, const termios2& modes) {
  if (::ioctl(fd, TCSETS2, &modes) != 0) throw_errno("set the modes of a terminal");
}

}  // namespace

std::vector<std::uint8_t> terminal_modes(int fd) { return to_bytes(get(fd)); }

void set_terminal_modes(int fd, const std::vector<std::uint8_t>& modes) {
  put(fd, from_bytes<termios2>(modes));
}

void set_terminal_modes_but_line(int fd, const std::vector<std::uint8_t>& modes) {
  auto wanted = from_bytes<termios2>(modes);
  termios2 now = get(fd);
  now.c_iflag = wanted.c_iflag;
  now.c_oflag = wanted.c_oflag;
  now.c_lflag = wanted.c_lflag;
  std::ranges::copy(wanted.c_cc, std::begin(now.c_cc));
  put(fd, now);
}

std::vector<std::uint8_t> window_size(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) throw_errno("read the window size of a terminal");
  return to_bytes(size);
}

void set_window_size(int fd, const std::vector<std::uint8_t>& size) {
  auto wanted = from_bytes<winsize>(size);
  if (::ioctl(fd, TIOCSWINSZ, &wanted) != 0) throw_errno("set the window size of a terminal");
}

TransparentModes::TransparentModes(int fd)
    : fd_(fd), before_(terminal_modes(fd)), by_line_((from_bytes<termios2>(before_).c_lflag & ICANON) != 0) {
  set(by_line_);
}

// Cannot fail where TCGETS2 did not.
TransparentModes::~TransparentModes() { ::ioctl(fd_, TCSETS2, before_.data()); }

void TransparentModes::read_all() const { set(false); }
void TransparentModes::keep_lines() const { set(by_line_); }

void TransparentModes::set(bool by_line) const {
  auto modes = from_bytes<termios2>(before_);
  modes.c_iflag = 0;
  modes.c_oflag = 0;
  modes.c_lflag = by_line ? ICANON : 0;
  std::ranges::fill(modes.c_cc, static_cast<cc_t>(0));  // no character has a meaning (_POSIX_VDISABLE)
  if (!by_line) modes.c_cc[VMIN] = 1;
  put(fd_, modes);
}

}  // namespace ckpt::engine::resource
