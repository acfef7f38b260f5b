#include "engine/restore/guardian.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "base/pidfd.h"
#include "engine/restore/program_family.h"

namespace ckpt::engine {
namespace {

// Nothing that is sent to our process group may end it: it is what is left when everything else is killed.
[[noreturn]] void watch_over(const std::vector<WatchedProcess>& processes, int supervisor_pidfd) {
  constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, nullptr, sizeof(kAllSignals));
  ::setsid();
  ::prctl(PR_SET_NAME, "ckpt-guardian");
  has_ended(supervisor_pidfd, -1);
  // New children may appear until all are dead; they are listed when it is asked again.
  constexpr int kRoundMs = 20;
  do {
    kill_families(processes);
  } while (!have_ended(processes, kRoundMs));
  ::_exit(0);
}

}  // namespace

Guardian::Guardian(const std::vector<WatchedProcess>& processes) : supervisor_(open_pidfd(::getpid())) {
  if (!supervisor_) throw_errno("watch over lazily restored memory");
  int guardian = -1;
  clone_args arguments{};
  arguments.flags = CLONE_FILES | CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&guardian);
  long child = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (child < 0) throw_errno("start the guardian of lazily restored memory");
  if (child == 0) watch_over(processes, supervisor_.get());
  guardian_.reset(guardian);
  pid_ = static_cast<pid_t>(child);
}

Guardian::~Guardian() {
  ::syscall(SYS_pidfd_send_signal, guardian_.get(), SIGKILL, nullptr, 0);
  siginfo_t info{};
  while (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(guardian_.get()), &info,
                  WEXITED | __WALL) != 0 &&
         errno == EINTR) {
  }
}

}  // namespace ckpt::engine
