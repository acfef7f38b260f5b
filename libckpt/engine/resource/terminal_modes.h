// How a terminal is set (ioctl_tty(2)), as bytes of struct termios2 and struct winsize.
#pragma once

#include <cstdint>
#include <vector>

namespace ckpt::engine::resource {

// `fd`: a terminal, or the master of a pseudo-terminal, which answers for its slave.
std::vector<std::uint8_t> terminal_modes(int fd);
void set_terminal_modes(int fd, const std::vector<std::uint8_t>& modes);

// Like set_terminal_modes(), but the line's speed and format stay what they are.
void set_terminal_modes_but_line(int fd, const std::vector<std::uint8_t>& modes);

std::vector<std::uint8_t> window_size(int fd);
void set_window_size(int fd, const std::vector<std::uint8_t>& size);

// While it lives, bytes pass through the pseudo-terminal unchanged and unechoed in both directions, and lines
// are still told apart if they were.
class TransparentModes {
 public:
  explicit TransparentModes(int fd);
  ~TransparentModes();
  TransparentModes(const TransparentModes&) = delete;
  TransparentModes& operator=(const TransparentModes&) = delete;

  bool by_line() const { return by_line_; }
  // Makes the beginning of a line readable.
  void read_all() const;
  void keep_lines() const;

 private:
  void set(bool by_line) const;

  int fd_;
  std::vector<std::uint8_t> before_;
  bool by_line_;
};

}  // namespace ckpt::engine::resource
