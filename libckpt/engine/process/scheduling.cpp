#include "engine/process/scheduling.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include "base/error.h"
#include "engine/process/proc_status.h"

namespace ckpt::engine {
namespace {

// struct sched_attr, first version; <linux/sched/types.h> collides with <sched.h>.
struct SchedAttr {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime;
  std::uint64_t deadline;
  std::uint64_t period;
};
static_assert(sizeof(SchedAttr) == 48);

constexpr std::uint32_t kDeadlinePolicy = 6;  // SCHED_DEADLINE
constexpr int kIoPriorityProcess = 1;         // IOPRIO_WHO_PROCESS
constexpr int kIoPriorityClassShift = 13;
constexpr unsigned kCapSysNice = 23;
constexpr std::size_t kMostCpuBytes = 1024;

SchedAttr attributes_of(pid_t tid) {
  SchedAttr attributes{};
  if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof(attributes), 0) != 0) {
    throw_errno(fmt::format("read scheduling of thread {}", tid));
  }
  return attributes;
}

bool is_fair(std::uint32_t policy) {
  return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE;
}

// The allowed processors; empty if that is every one there is, so that a program that never asked for fewer
// may use all those of another machine.
std::vector<std::uint8_t> affinity_of(pid_t tid) {
  std::vector<std::uint8_t> mask(kMostCpuBytes);
  long got = ::syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  if (got < 0) throw_errno(fmt::format("read processor affinity of thread {}", tid));
  mask.resize(static_cast<std::size_t>(got));
  int allowed = 0;
  for (std::uint8_t byte : mask) allowed += std::popcount(byte);
  static const long kOnline = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (allowed >= kOnline) mask.clear();
  return mask;
}

bool may_schedule_freely() { return (ProcStatus::of_self().number("CapEff", 16) >> kCapSysNice & 1) != 0; }

std::uint64_t hard_limit(__rlimit_resource resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0) throw_errno("read limits");
  return limit.rlim_max;
}

// Hundreds of threads are usually scheduled alike.
void note_once(std::vector<std::string>& notes, const std::string& note) {
  if (std::ranges::find(notes, note) == notes.end()) notes.push_back(note);
}

// What of `wanted` this session may set; what it may not is said.
SchedAttr permitted(SchedAttr wanted, std::vector<std::string>& notes) {
  if (may_schedule_freely()) return wanted;
  bool real_time = wanted.policy == SCHED_FIFO || wanted.policy == SCHED_RR;
  if (wanted.policy == kDeadlinePolicy || (real_time && wanted.priority > hard_limit(RLIMIT_RTPRIO))) {
    note_once(notes, "real-time scheduling is dropped, which this session may not give");
    wanted = {.size = sizeof(SchedAttr),
              .policy = SCHED_OTHER,
              .flags = 0,
              .nice = 0,
              .priority = 0,
              .runtime = 0,
              .deadline = 0,
              .period = 0};
  }
  int lowest = 20 - static_cast<int>(std::min<std::uint64_t>(hard_limit(RLIMIT_NICE), 40));
  lowest = std::min(lowest, ::getpriority(PRIO_PROCESS, 0));
  if (is_fair(wanted.policy) && wanted.nice < lowest) {
    note_once(notes, fmt::format("nice of threads raised from {} to {}, all that this session may give",
                                 wanted.nice, lowest));
    wanted.nice = lowest;
  }
  return wanted;
}

SchedAttr attributes_in(const image::SchedulingT& scheduling) {
  return {.size = sizeof(SchedAttr),
          .policy = scheduling.policy,
          .flags = scheduling.flags,
          .nice = scheduling.nice,
          .priority = scheduling.priority,
          .runtime = scheduling.runtime_ns,
          .deadline = scheduling.deadline_ns,
          .period = scheduling.period_ns};
}

}  // namespace

void save_scheduling(pid_t tid, RemoteQueries& queries, image::ThreadT& state) {
  SchedAttr attributes = attributes_of(tid);
  auto scheduling = std::make_unique<image::SchedulingT>();
  scheduling->policy = attributes.policy;
  scheduling->flags = attributes.flags;
  scheduling->nice = attributes.nice;
  scheduling->priority = attributes.priority;
  // Since Linux 6.12 ordinary threads show their time slice here. The machine's own is no setting of the
  // thread.
  static const SchedAttr kOwn = attributes_of(0);
  if (!is_fair(attributes.policy) || attributes.runtime != kOwn.runtime)
    scheduling->runtime_ns = attributes.runtime;
  scheduling->deadline_ns = attributes.deadline;
  scheduling->period_ns = attributes.period;
  scheduling->affinity = affinity_of(tid);
  queries.expect(
      "read timer slack", SYS_prctl, {PR_GET_TIMERSLACK, 0, 0, 0, 0},
      [&state](std::int64_t slack) { state.scheduling->timer_slack_ns = static_cast<std::uint64_t>(slack); });
  state.scheduling = std::move(scheduling);
  long io_priority = ::syscall(SYS_ioprio_get, kIoPriorityProcess, tid);
  if (io_priority < 0) throw_errno(fmt::format("read I/O priority of thread {}", tid));
  state.io_priority = static_cast<std::int32_t>(io_priority);
}

void plan_scheduling(const image::ThreadT& thread, PlanBuilder& plan, std::vector<std::string>& notes) {
  if (!thread.scheduling) return;
  const image::SchedulingT& scheduling = *thread.scheduling;
  if (!scheduling.affinity.empty()) {
    RemoteAddr mask = plan.data(std::as_bytes(std::span(scheduling.affinity)));
    // The processors may not exist here.
    plan.attempt(fmt::format("processor affinity of thread {}", thread.tid), SYS_sched_setaffinity,
                 {0, scheduling.affinity.size(), mask.value});
  }
  if ((thread.io_priority >> kIoPriorityClassShift) != 0) {
    plan.attempt(fmt::format("I/O priority of thread {}", thread.tid), SYS_ioprio_set,
                 {kIoPriorityProcess, 0, static_cast<std::uint64_t>(thread.io_priority)});
  }
  // Real-time threads show 0, which as an argument would mean the default.
  if (scheduling.timer_slack_ns != 0) {
    plan.expect(fmt::format("timer slack of thread {}", thread.tid), SYS_prctl,
                {PR_SET_TIMERSLACK, scheduling.timer_slack_ns, 0, 0, 0}, 0);
  }
  RemoteAddr attributes = plan.data_of(permitted(attributes_in(scheduling), notes));
  plan.attempt(fmt::format("scheduling of thread {}", thread.tid), SYS_sched_setattr,
               {0, attributes.value, 0});
}

}  // namespace ckpt::engine
