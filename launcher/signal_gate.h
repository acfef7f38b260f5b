// All signals of ckptrun arrive here, as data.
//
// Every signal is blocked for the whole life of ckptrun and read from a signalfd, so that none interrupts a
// capture and none is lost. Signals that ckptrun inherited as ignored are set to their default, because an
// ignored signal would never reach the signalfd, and the program may well handle it; the program gets mask
// and dispositions back as ckptrun found them.
#pragma once

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/types.h>

#include <optional>
#include <vector>

#include "base/unique_fd.h"

namespace ckpt::launcher {

class SignalGate {
 public:
  SignalGate();  // closes the gate; call it before any thread is made
  SignalGate(const SignalGate&) = delete;
  SignalGate& operator=(const SignalGate&) = delete;

  int fd() const { return fd_.get(); }
  std::optional<signalfd_siginfo> next();  // without waiting

  // In a forked child, before exec. Async-signal-safe.
  void restore_for_exec() const;

 private:
  sigset_t original_mask_{};
  std::vector<int> originally_ignored_;
  UniqueFd fd_;
};

// Whether the kernel sent it to the whole foreground process group, so that the program has it already.
bool from_terminal(const signalfd_siginfo& info);

// Sends `info` on to the program: with its value if it has one, otherwise as kill() does. A program that is
// gone is no error.
void forward_signal(pid_t program, const signalfd_siginfo& info);

}  // namespace ckpt::launcher
