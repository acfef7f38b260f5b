#include "engine/process/thread_links.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace ckpt::engine {
namespace {

std::unique_ptr<image::RobustListT> robust_list_of(pid_t tid) {
  void* head = nullptr;
  std::size_t size = 0;
  if (::syscall(SYS_get_robust_list, tid, &head, &size) != 0) {
    throw_errno(fmt::format("read robust list of thread {}", tid));
  }
  if (head == nullptr) return nullptr;
  auto list = std::make_unique<image::RobustListT>();
  list->head = reinterpret_cast<std::uint64_t>(head);
  list->size = size;
  return list;
}

std::unique_ptr<image::RseqT> rseq_of(pid_t tid) {
  __ptrace_rseq_configuration registered{};
  long got = ::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(registered), &registered);
  if (got < 0) throw_errno(fmt::format("read rseq registration of thread {}", tid));
  if (registered.rseq_abi_pointer == 0) return nullptr;
  auto rseq = std::make_unique<image::RseqT>();
  rseq->address = registered.rseq_abi_pointer;
  rseq->size = registered.rseq_abi_size;
  rseq->signature = registered.signature;
  rseq->flags = registered.flags;
  return rseq;
}

}  // namespace

void save_thread_links(pid_t tid, RemoteQueries& queries, image::ThreadT& state) {
  state.robust_list = robust_list_of(tid);
  state.rseq = rseq_of(tid);
  queries.fetch<std::uint64_t>("read clear_child_tid (needs a kernel with CONFIG_CHECKPOINT_RESTORE)",
                               SYS_prctl, {PR_GET_TID_ADDRESS, kAnswer, 0, 0, 0},
                               [&state](std::uint64_t address) { state.clear_child_tid = address; });
  queries.fetch<std::int32_t>("read parent-death signal", SYS_prctl, {PR_GET_PDEATHSIG, kAnswer, 0, 0, 0},
                              [&state](std::int32_t signal) { state.parent_death_signal = signal; });
}

void plan_thread_links(const image::ThreadT& thread, PlanBuilder& plan) {
  plan.expect(fmt::format("name of thread {}", thread.tid), SYS_prctl,
              {PR_SET_NAME, plan.string(thread.name).value, 0, 0, 0}, 0);
  plan.expect_success(fmt::format("clear_child_tid of thread {}", thread.tid), SYS_set_tid_address,
                      {thread.clear_child_tid});
  if (thread.robust_list) {
    plan.expect(fmt::format("robust list of thread {}", thread.tid), SYS_set_robust_list,
                {thread.robust_list->head, thread.robust_list->size}, 0);
  }
  if (thread.rseq) {
    plan.expect(fmt::format("rseq of thread {}", thread.tid), SYS_rseq,
                {thread.rseq->address, thread.rseq->size, thread.rseq->flags, thread.rseq->signature}, 0);
  }
  if (thread.parent_death_signal != 0) {
    plan.expect(fmt::format("parent-death signal of thread {}", thread.tid), SYS_prctl,
                {PR_SET_PDEATHSIG, static_cast<std::uint64_t>(thread.parent_death_signal), 0, 0, 0}, 0);
  }
}

}  // namespace ckpt::engine
