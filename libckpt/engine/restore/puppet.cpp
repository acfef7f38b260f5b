#include "engine/restore/puppet.h"

#include <fmt/format.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>

#include "base/error.h"
#include "engine/tracee/arch/x86_64/syscall_instruction.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"
#include "engine/tracee/stops.h"

namespace ckpt::engine {
namespace {

constexpr std::chrono::seconds kPlanDeadline{600};
constexpr std::uint64_t kRedZone = 256;

auto deadline() { return std::chrono::steady_clock::now() + kPlanDeadline; }

}  // namespace

Puppet::Puppet(pid_t pid) : pid_(pid), threads_{pid} { get_registers(pid, registers_); }

std::int64_t Puppet::call(long number, std::initializer_list<std::uint64_t> arguments) {
  return call(number, arguments, nullptr);
}

std::int64_t Puppet::call(long number, std::initializer_list<std::uint64_t> arguments, pid_t* made) {
  if (syscall_instruction_.value == 0) syscall_instruction_ = arch::find_syscall_instruction(pid_);
  return run_syscall(pid_, pid_,
                     arch::registers_for_call(registers_, syscall_instruction_, number, arguments), nullptr,
                     made);
}

Puppet Puppet::fork(std::int32_t id, int exit_signal, RemoteAddr room) {
  struct {
    clone_args arguments{};
    pid_t wanted = 0;
  } request;
  request.wanted = id;
  request.arguments.exit_signal = static_cast<std::uint64_t>(exit_signal);
  if (id != 0) {
    request.arguments.set_tid = room.value + offsetof(decltype(request), wanted);
    request.arguments.set_tid_size = 1;
  }
  write_remote(pid_, room, std::as_bytes(std::span(&request, 1)));
  pid_t made = 0;
  std::int64_t result = call(SYS_clone3, {room.value, sizeof(request.arguments)}, &made);
  if (result < 0) throw_errno(fmt::format("make process {} by fork", id), static_cast<int>(-result));
  std::optional<Stop> stop = made == 0 ? std::nullopt : wait_for_stop(made, made, deadline());
  if (!stop || stop->ended) throw Error(fmt::format("process {}, made by fork, did not stop", id), ESRCH);
  Puppet forked(*this);
  forked.pid_ = made;
  forked.threads_ = {made};
  return forked;
}

void Puppet::place_executor(const WorkArea& area, const RestorerCode& code) {
  std::uint64_t flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  std::uint64_t size = (area.parking - area.start);
  std::int64_t result =
      call(SYS_mmap, {area.start.value, size, PROT_READ | PROT_WRITE | PROT_EXEC, flags, ~0ULL, 0});
  if (result != static_cast<std::int64_t>(area.start.value)) {
    throw_errno(fmt::format("map the work area at {:#x}", area.start.value), static_cast<int>(-result));
  }
  write_remote(pid_, area.code, code.bytes);
  entry_ = area.code + code.entry_offset;
  stack_top_ = area.stack_top;
}

void Puppet::run(const PlanBuilder& plan, pid_t tid) {
  if (plan.operation_count() == 0) return;
  write_remote(pid_, plan.base(), plan.build());
  write_remote(pid_, plan.data_base(), plan.data_bytes());
  user_regs_struct registers = registers_;
  registers.rip = entry_.value;
  registers.rdi = plan.base().value;
  registers.rsp = stack_top_.value - kRedZone - 8;  // as after a call: 16-aligned plus 8
  registers.rax = 0;
  registers.orig_rax = ~0ULL;
  set_registers(tid, registers);
  if (::ptrace(PTRACE_CONT, tid, nullptr, 0) != 0)
    throw_errno(fmt::format("run the restorer in thread {}", tid));
  wait_for_end_of_plan(plan, tid);
  check_outcome(plan);
}

void Puppet::wait_for_end_of_plan(const PlanBuilder& plan, pid_t tid) {
  for (;;) {
    std::optional<Stop> stop = wait_for_stop(pid_, tid, deadline());
    if (!stop) throw Error("the restorer did not finish in time");
    if (stop->ended) throw Error(fmt::format("process {} was killed while it was rebuilt", pid_), ESRCH);
    if (stop->event == 0 && stop->signal == SIGTRAP) return;
    if (stop->event == PTRACE_EVENT_CLONE) {
      add_new_thread(tid);
    } else if (stop->event == 0) {
      user_regs_struct registers{};
      get_registers(tid, registers);
      throw Error(fmt::format("the restorer met signal {} at {:#x} (plan of {} operations); this is a bug",
                              stop->signal, registers.rip, plan.operation_count()));
    }
    if (::ptrace(PTRACE_CONT, tid, nullptr, 0) != 0)
      throw_errno(fmt::format("run the restorer in thread {}", tid));
  }
}

void Puppet::add_new_thread(pid_t creator) {
  unsigned long message = 0;
  if (::ptrace(PTRACE_GETEVENTMSG, creator, nullptr, &message) != 0)
    throw_errno("learn the id of a new thread");
  auto tid = static_cast<pid_t>(message);
  std::optional<Stop> stop = wait_for_stop(pid_, tid, deadline());
  if (!stop || stop->ended) throw Error(fmt::format("new thread {} did not stop", tid), ESRCH);
  threads_.push_back(tid);
}

void Puppet::check_outcome(const PlanBuilder& plan) const {
  plan::PlanHeader header{};
  read_remote(pid_, plan.base(), std::as_writable_bytes(std::span(&header, 1)));
  if (header.failed == 0 && header.executed == plan.operation_count()) return;
  if (header.executed == 0 || header.executed > plan.operation_count()) {
    throw Error(
        "the restorer refused its plan; ckptrun and ckpt-restorer are of different builds, install both "
        "again");
  }
  std::uint64_t index = header.executed - 1;
  plan::Operation operation{};
  read_remote(pid_, plan.base() + sizeof(header) + index * sizeof(operation),
              std::as_writable_bytes(std::span(&operation, 1)));
  bool is_error = operation.result < 0 && operation.result > -4096;
  throw Error(fmt::format("restore failed at: {}: {}", plan.labels().at(index),
                          is_error ? describe_errno(static_cast<int>(-operation.result))
                                   : fmt::format("result {:#x}", operation.result)),
              is_error ? static_cast<int>(-operation.result) : 0);
}

}  // namespace ckpt::engine
