#include "engine/restore/lazy_fill.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/restore/program_family.h"

namespace ckpt::engine {
namespace {

constexpr int kDeathMs = 10'000;

}  // namespace

LazyFill::LazyFill(pid_t pid, LazyFillWork work)
    : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {
  if (!pidfd_) throw_errno("watch the program");
  guardian_.emplace(pid, pidfd_.get());
  server_.emplace(PageServerWork{.reader = std::move(work.reader),
                                 .space = work.space,
                                 .faults = std::move(work.faults),
                                 .missing = std::move(work.missing),
                                 .order = std::move(work.order),
                                 .directory = work.directory,
                                 .pid = pid,
                                 .pidfd = pidfd_.get()});
}

LazyFill::~LazyFill() {
  if (!server_->done()) {
    kill_family(pid_, pidfd_.get());
    has_ended(pidfd_.get(), kDeathMs);
  }
  server_.reset();
  guardian_.reset();
}

}  // namespace ckpt::engine
