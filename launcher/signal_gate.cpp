#include "launcher/signal_gate.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace ckpt::launcher {

SignalGate::SignalGate() {
  sigset_t all;
  sigfillset(&all);
  if (::sigprocmask(SIG_SETMASK, &all, &original_mask_) != 0) throw_errno("block signals");
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler != SIG_IGN) continue;
    originally_ignored_.push_back(signal);
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
  }
  fd_.reset(::signalfd(-1, &all, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd_) throw_errno("create signalfd");
}

std::optional<signalfd_siginfo> SignalGate::next() {
  signalfd_siginfo info{};
  ssize_t got = ::read(fd_.get(), &info, sizeof info);
  if (got == static_cast<ssize_t>(sizeof info)) return info;
  if (got < 0 && errno != EAGAIN && errno != EINTR) throw_errno("read signalfd");
  return std::nullopt;
}

void SignalGate::restore_for_exec() const {
  for (int signal : originally_ignored_) ::signal(signal, SIG_IGN);
  ::sigprocmask(SIG_SETMASK, &original_mask_, nullptr);
}

bool from_terminal(const signalfd_siginfo& info) { return info.ssi_code == SI_KERNEL; }

void forward_signal(pid_t program, const signalfd_siginfo& info) {
  int signal = static_cast<int>(info.ssi_signo);
  if (info.ssi_code != SI_QUEUE) {
    ::kill(program, signal);
    return;
  }
  siginfo_t queued{};
  queued.si_signo = signal;
  queued.si_code = SI_QUEUE;
  queued.si_pid = static_cast<pid_t>(info.ssi_pid);
  queued.si_uid = info.ssi_uid;
  queued.si_value.sival_ptr = reinterpret_cast<void*>(info.ssi_ptr);  // NOLINT(performance-no-int-to-ptr)
  ::syscall(SYS_rt_sigqueueinfo, program, signal, &queued);
}

}  // namespace ckpt::launcher
