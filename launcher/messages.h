// What we say to the user: one line each, on standard error, because standard output belongs to the program.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace ckpt::launcher {

class Messages {
 public:
  Messages(std::string prefix, int fd) : prefix_(std::move(prefix)), fd_(fd) {}

  void line(std::string_view text);
  void line_once(const std::string& text);  // only the first time

 private:
  std::string prefix_;
  int fd_;
  std::set<std::string> repeats_;
};

}  // namespace ckpt::launcher
