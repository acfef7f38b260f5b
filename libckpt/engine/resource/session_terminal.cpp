#include "engine/resource/session_terminal.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "engine/resource/terminal_modes.h"

namespace ckpt::engine::resource {
namespace {

// The first of our own 0, 1, 2 that is a terminal and that the program has, or -1.
int terminal_in_common(const image::ProcessT& process) {
  constexpr std::array kOwn{0, 1, 2};
  auto found = std::ranges::find_if(kOwn, [&](int own) {
    return ::isatty(own) != 0 && std::ranges::any_of(process.descriptions, [&](const auto& description) {
             const image::InheritedDetailT* detail = description->detail.AsInheritedDetail();
             return detail != nullptr && detail->number == own;
           });
  });
  return found == kOwn.end() ? -1 : *found;
}

// Of a job in the background the terminal knows nothing: its modes are the shell's, and are not ours to set.
bool in_foreground(int terminal, pid_t program) {
  pid_t foreground = ::tcgetpgrp(terminal);
  return foreground >= 0 && (foreground == ::getpgrp() || foreground == ::getpgid(program));
}

// Even then another job may get the terminal just now.
class NoStopForOutput {
 public:
  NoStopForOutput() {
    sigset_t set{};
    ::sigaddset(&set, SIGTTOU);
    if (::sigprocmask(SIG_BLOCK, &set, &before_) != 0) throw_errno("block SIGTTOU");
  }
  ~NoStopForOutput() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }
  NoStopForOutput(const NoStopForOutput&) = delete;
  NoStopForOutput& operator=(const NoStopForOutput&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

void save_session_terminal(const SaveState& state, image::ProcessT& process) {
  process.terminal.reset();
  int terminal = terminal_in_common(process);
  if (terminal < 0 || !in_foreground(terminal, state.context.pid)) return;
  process.terminal = std::make_unique<image::TerminalModesT>();
  process.terminal->modes = terminal_modes(terminal);
  process.terminal->window = window_size(terminal);
}

void finish_session_terminal(FinishState& state) {
  const image::ProcessT& process = *state.checkpoint.process;
  int terminal = process.terminal == nullptr ? -1 : terminal_in_common(process);
  if (terminal < 0 || !in_foreground(terminal, state.program.pid())) return;
  NoStopForOutput guard;
  set_terminal_modes_but_line(terminal, process.terminal->modes);
  if (window_size(terminal) == process.terminal->window) return;
  if (::kill(state.program.pid(), SIGWINCH) != 0) throw_errno("tell the program of its new window");
}

}  // namespace ckpt::engine::resource
