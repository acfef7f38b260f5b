#include "child_support.h"

#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <thread>

extern "C" const char assumptions_syscall_instruction[];
asm(R"(
  .text
  .globl assumptions_syscall_instruction
assumptions_syscall_instruction:
  syscall
  int3
)");

namespace ckpt::assumptions {
namespace {

constexpr std::chrono::seconds kDeadline{60};

void require(bool good, const char* attempt) {
  if (!good) throw std::system_error(errno, std::generic_category(), attempt);
}

}  // namespace

bool wait_until(const std::function<bool()>& condition) {
  auto end = std::chrono::steady_clock::now() + kDeadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

Child::Child(const std::function<int()>& body) : pid_(fork()) {
  require(pid_ >= 0, "fork");
  if (pid_ != 0) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  _exit(body());
}

Child::~Child() {
  if (reaped_) return;
  kill(pid_, SIGKILL);
  int status = 0;
  do {  // stops that were not collected come first
    if (waitpid(pid_, &status, __WALL) != pid_) return;
  } while (WIFSTOPPED(status));
}

bool Child::is_blocked_in(std::initializer_list<long> numbers) const {
  // "running" while it runs, else the number of the call that it sleeps in (proc(5)).
  std::ifstream file("/proc/" + std::to_string(pid_) + "/syscall");
  long number = -1;
  return (file >> number) && std::ranges::find(numbers, number) != numbers.end();
}

void Child::seize(long options) const {
  require(ptrace(PTRACE_SEIZE, pid_, nullptr, options) == 0, "PTRACE_SEIZE");
}

void Child::interrupt() const {
  require(ptrace(PTRACE_INTERRUPT, pid_, nullptr, nullptr) == 0, "PTRACE_INTERRUPT");
}

int Child::wait_for_stop() const {
  int status = 0;
  require(waitpid(pid_, &status, __WALL) == pid_, "waitpid");
  if (!WIFSTOPPED(status)) throw std::runtime_error("the child ended instead of stopping");
  return status;
}

int Child::stop() const {
  seize();
  interrupt();
  return wait_for_stop();
}

void Child::detach(int signal) const {
  require(ptrace(PTRACE_DETACH, pid_, nullptr, static_cast<long>(signal)) == 0, "PTRACE_DETACH");
}

user_regs_struct Child::registers() const {
  user_regs_struct registers{};
  require(ptrace(PTRACE_GETREGS, pid_, nullptr, &registers) == 0, "PTRACE_GETREGS");
  return registers;
}

void Child::set_registers(const user_regs_struct& registers) const {
  require(ptrace(PTRACE_SETREGS, pid_, nullptr, &registers) == 0, "PTRACE_SETREGS");
}

std::int64_t Child::remote_call(std::uint64_t instruction, long number,
                                std::initializer_list<std::uint64_t> arguments) const {
  user_regs_struct saved = registers();
  user_regs_struct call = saved;
  std::array<std::uint64_t, 6> values{};
  std::ranges::copy(arguments, values.begin());
  call.rip = instruction;
  call.rax = static_cast<unsigned long long>(number);
  call.orig_rax = ~0ULL;
  call.rdi = values[0];
  call.rsi = values[1];
  call.rdx = values[2];
  call.r10 = values[3];
  call.r8 = values[4];
  call.r9 = values[5];
  set_registers(call);
  require(ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) == 0, "PTRACE_SINGLESTEP");
  wait_for_stop();
  auto result = static_cast<std::int64_t>(registers().rax);
  set_registers(saved);
  return result;
}

int Child::exit_code() {
  int status = 0;
  require(waitpid(pid_, &status, __WALL) == pid_, "waitpid");
  reaped_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::uint64_t syscall_instruction() {
  return reinterpret_cast<std::uint64_t>(&assumptions_syscall_instruction[0]);
}

bool become_ordinary() {
  if (geteuid() != 0) return true;
  return setgroups(0, nullptr) == 0 && setresgid(kOrdinaryId, kOrdinaryId, kOrdinaryId) == 0 &&
         setresuid(kOrdinaryId, kOrdinaryId, kOrdinaryId) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 &&
         prctl(PR_SET_DUMPABLE, 1) == 0;
}

}  // namespace ckpt::assumptions
