#include "process/traced_child_support.h"

#include <linux/capability.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/process/process_state.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kPlanBytes = 4 << 20;
constexpr std::size_t kOperationBytes = 2 << 20;
constexpr unsigned kUnregisterRseq = 1;

[[noreturn]] void run_child(const std::function<void()>& setup, int ready) {
  std::string failure;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a test that crashes leaves nothing behind
  try {
    setup();
  } catch (const std::exception& error) {
    failure = error.what();
  }
  // Up to a NUL: the end of file would not come while children of this child hold the pipe, too.
  if (::write(ready, failure.c_str(), failure.size() + 1) < 0 || !failure.empty()) ::_exit(1);
  ::close(ready);
  for (;;) ::pause();
}

void* map_plan_memory() {
  void* memory = ::mmap(nullptr, kPlanBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for a plan");
  return memory;
}

// The restorer's threads have no restartable sequences yet; ours got theirs from the C library.
void unregister_rseq(const image::ThreadT& thread) {
  if (!thread.rseq) return;
  if (::syscall(SYS_rseq, thread.rseq->address, thread.rseq->size, kUnregisterRseq, thread.rseq->signature) !=
      0) {
    throw std::runtime_error("cannot unregister rseq");
  }
}

std::array<__user_cap_data_struct, 2> capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) throw std::runtime_error("capget");
  return data;
}

void set_effective(unsigned capability, bool on) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  auto data = capabilities();
  unsigned bit = 1U << (capability % 32);
  auto& effective = data[capability / 32].effective;
  effective = on ? effective | bit : effective & ~bit;
  if (::syscall(SYS_capset, &header, data.data()) != 0) throw std::runtime_error("capset");
}

}  // namespace

ChildProgram::ChildProgram(const std::function<void()>& setup) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw std::runtime_error("pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    read_end.reset();
    run_child(setup, write_end.get());
  }
  write_end.reset();
  std::string failure;
  char next = '\0';
  ssize_t got = 0;
  while ((got = ::read(read_end.get(), &next, 1)) == 1 && next != '\0') failure += next;
  if (got != 1) failure = "the child died";
  if (failure.empty()) return;
  ::waitpid(pid_, nullptr, 0);
  throw std::runtime_error(failure);
}

ChildProgram::~ChildProgram() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  if (::sigprocmask(SIG_SETMASK, &all, nullptr) != 0) throw std::runtime_error("sigprocmask");
}

std::unique_ptr<image::ProcessT> save(pid_t pid) {
  Tracee tracee(pid);
  auto process = std::make_unique<image::ProcessT>();
  save_process_state(tracee, true, *process);
  return process;
}

std::string refusal_to_save(pid_t pid) {
  try {
    save(pid);
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

PlanInPlace::PlanInPlace()
    : memory_(map_plan_memory()),
      builder_(RemoteAddr{reinterpret_cast<std::uint64_t>(memory_)}, kOperationBytes) {}

PlanInPlace::~PlanInPlace() { ::munmap(memory_, kPlanBytes); }

void PlanInPlace::run() {
  const std::vector<std::byte>& data = builder_.data_bytes();
  if (data.size() > kPlanBytes - kOperationBytes) throw std::runtime_error("plan too large");
  std::memcpy(static_cast<std::byte*>(memory_) + kOperationBytes, data.data(), data.size());
  for (std::size_t i = 0; i < builder_.operation_count(); ++i) {
    const plan::Operation& op = builder_.operations()[i];
    const auto& a = op.arguments;
    std::int64_t result = ::syscall(static_cast<long>(op.number), a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result == -1) result = -errno;
    bool bad = (op.check == plan::Check::kEqual && result != op.expected) ||
               (op.check == plan::Check::kNotNegative && result < 0);
    if (bad) throw std::runtime_error(builder_.labels()[i] + " gave " + std::to_string(result));
  }
}

std::unique_ptr<ChildProgram> rebuild(const image::ProcessT& saved) {
  return std::make_unique<ChildProgram>([&] {
    block_all_signals();
    const image::ThreadT& main = *saved.threads.front();
    unregister_rseq(main);
    apply_before_exec(saved);
    IdMap ids{{saved.pid, ::getpid()}};
    std::vector<std::string> notes;
    PlanInPlace plan;
    plan_thread_state(saved, main, ::getpid(), ::getpid(), plan.builder(), notes);
    plan_process_state(saved, plan.builder(), notes, ids);
    plan.run();
  });
}

WithoutCapability::WithoutCapability(unsigned capability)
    : capability_(capability),
      had_it_((capabilities()[capability / 32].effective >> (capability % 32) & 1) != 0) {
  if (had_it_) set_effective(capability_, false);
}

WithoutCapability::~WithoutCapability() {
  try {
    if (had_it_) set_effective(capability_, true);
  } catch (const std::exception&) {
    std::abort();  // the tests after this one would run with less than they were started with
  }
}

}  // namespace ckpt::engine
