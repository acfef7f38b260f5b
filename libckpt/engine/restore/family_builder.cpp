#include "engine/restore/family_builder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/parse.h"
#include "engine/process/attributes.h"
#include "engine/process/process_state.h"
#include "engine/resource/descriptors.h"

namespace ckpt::engine {
namespace {

constexpr std::chrono::seconds kBuildDeadline{120};
constexpr char kReady = 'r';
constexpr int kGaveUp = 124;
constexpr int kFailed = 125;

enum Stage : unsigned { kAllExist, kLeadersLead, kGroupsJoined, kLeadersLeft, kStages };

struct Pipe {
  UniqueFd reading;
  UniqueFd writing;
};

Pipe make_pipe(int scratch_base) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  Pipe pipe{.reading = UniqueFd(::fcntl(reading.get(), F_DUPFD_CLOEXEC, scratch_base)),
            .writing = UniqueFd(::fcntl(writing.get(), F_DUPFD_CLOEXEC, scratch_base))};
  if (!pipe.reading || !pipe.writing) throw_errno("make a pipe above the program's descriptors");
  return pipe;
}

// All of them: sigprocmask() of libc leaves out the two that it uses itself, and a timer may send those.
void block_all_signals() {
  constexpr std::uint64_t kAll = ~std::uint64_t{0};
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAll, nullptr, sizeof(kAll));
}

// The errno, a blank, and the text; others that fail because of the first come after it.
Error parse_failure(std::string_view report) {
  report = take_line(report);
  auto code = parse_unsigned(take_field(report, ' '));
  return Error(std::string(report), static_cast<int>(code.value_or(0)));
}

}  // namespace

// ---- the link

struct BuilderLink::Board {
  std::array<std::atomic<std::uint32_t>, kStages> arrived;
  std::atomic<std::uint32_t> failed;
  // Behind it: for each of the saved ids the one that stands for it, 0 as long as there is none.
  std::atomic<std::int32_t>* ids() { return reinterpret_cast<std::atomic<std::int32_t>*>(this + 1); }
};

namespace {

// Sorted, each once.
std::vector<std::int32_t> ids_in(const NewProcessRequest& request) {
  std::set<std::int32_t> ids;
  auto add = [&ids](const image::ProcessT& process) {
    ids.insert({process.pid, process.process_group, process.session});
  };
  for (const NewMember& member : request.members) add(*member.view.checkpoint.process);
  for (const image::ProcessT* process : request.ended) add(*process);
  return {ids.begin(), ids.end()};
}

}  // namespace

BuilderLink::BuilderLink(const NewProcessRequest& request) : saved_ids_(ids_in(request)) {
  Pipe go = make_pipe(request.scratch_base);
  Pipe report = make_pipe(request.scratch_base);
  go_reading_ = std::move(go.reading);
  go_writing_ = std::move(go.writing);
  report_reading_ = std::move(report.reading);
  report_writing_ = std::move(report.writing);
  if (::fcntl(report_reading_.get(), F_SETFL, O_NONBLOCK) != 0) throw_errno("set up a pipe");
  void* memory = ::mmap(nullptr, board_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw_errno("map memory for the builders");
  board_ = static_cast<Board*>(memory);
}

BuilderLink::~BuilderLink() { ::munmap(board_, board_bytes()); }

std::size_t BuilderLink::board_bytes() const {
  return sizeof(Board) + saved_ids_.size() * sizeof(std::atomic<std::int32_t>);
}

// The number of ids if it is none of them.
std::size_t BuilderLink::place_of(std::int32_t saved) const {
  auto found = std::ranges::lower_bound(saved_ids_, saved);
  bool there = found != saved_ids_.end() && *found == saved;
  return there ? static_cast<std::size_t>(found - saved_ids_.begin()) : saved_ids_.size();
}

void BuilderLink::stand_for(std::int32_t saved) {
  if (std::size_t place = place_of(saved); place < saved_ids_.size()) board_->ids()[place].store(::getpid());
}

std::int32_t BuilderLink::current(std::int32_t saved) const {
  std::size_t place = place_of(saved);
  std::int32_t now = place < saved_ids_.size() ? board_->ids()[place].load() : 0;
  return now != 0 ? now : saved;
}

// Without those of a group or session that is outside: nobody stands for that.
IdMap BuilderLink::ids() const {
  IdMap ids;
  for (std::size_t i = 0; i < saved_ids_.size(); ++i) {
    if (std::int32_t now = board_->ids()[i].load(); now != 0) ids[saved_ids_[i]] = now;
  }
  return ids;
}

void BuilderLink::await_ready(std::size_t count, pid_t first) {
  auto deadline = std::chrono::steady_clock::now() + kBuildDeadline;
  for (std::size_t ready = 0; ready < count;) {
    pollfd report{.fd = report_reading_.get(), .events = POLLIN, .revents = 0};
    constexpr int kLookEveryMs = 200;
    ::poll(&report, 1, kLookEveryMs);
    std::array<char, PIPE_BUF> buffer{};
    ssize_t got = ::read(report_reading_.get(), buffer.data(), buffer.size());
    for (ssize_t i = 0; i < got; ++i) {
      if (buffer.at(static_cast<std::size_t>(i)) != kReady)
        throw parse_failure({buffer.data() + i, static_cast<std::size_t>(got - i)});
      ++ready;
    }
    constexpr int kHasEnded = WEXITED | WNOHANG | WNOWAIT | __WALL;
    siginfo_t ended{};
    bool gone = ::waitid(P_PID, static_cast<id_t>(first), &ended, kHasEnded) == 0 && ended.si_pid == first;
    if (gone && got <= 0) throw Error("the new process was killed while its descriptors were made");
    if (std::chrono::steady_clock::now() > deadline)
      throw Error("the new processes did not get ready in time");
  }
}

void BuilderLink::let_go(std::size_t count) {
  std::string go(count, 'g');
  if (::write(go_writing_.get(), go.data(), go.size()) != static_cast<ssize_t>(go.size()))
    throw_errno("start the new processes");
}

Error BuilderLink::failure() {
  std::array<char, PIPE_BUF> buffer{};
  ssize_t got = ::read(report_reading_.get(), buffer.data(), buffer.size());
  return parse_failure({buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))});
}

void BuilderLink::meet(unsigned stage, std::uint32_t count) {
  std::atomic<std::uint32_t>& arrived = board_->arrived.at(stage);
  std::uint32_t now = arrived.fetch_add(1) + 1;
  if (now == count) ::syscall(SYS_futex, &arrived, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  while (now < count) {
    timespec timeout{.tv_sec = 0, .tv_nsec = 50'000'000};
    ::syscall(SYS_futex, &arrived, FUTEX_WAIT, now, &timeout, nullptr, 0);
    pollfd supervisor{.fd = go_reading_.get(), .events = 0, .revents = 0};
    bool alone = ::poll(&supervisor, 1, 0) == 1 && (supervisor.revents & POLLHUP) != 0;
    if (board_->failed.load() != 0 || alone) ::_exit(kGaveUp);
    now = arrived.load();
  }
}

void BuilderLink::ready() {
  if (::write(report_writing_.get(), &kReady, 1) != 1) ::_exit(kGaveUp);
}

// Or nobody would be missed: the end of ckptrun is to end this process too.
void BuilderLink::await_go() {
  char byte = 0;
  ssize_t got = 0;
  while ((got = ::read(go_reading_.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  if (got != 1) ::_exit(kGaveUp);
}

void BuilderLink::fail(const std::string& why, int code) {
  std::string report = fmt::format("{} {}", code, why).substr(0, PIPE_BUF - 1) + '\n';
  bool told = ::write(report_writing_.get(), report.data(), report.size()) > 0;
  board_->failed.store(1);
  for (auto& arrived : board_->arrived)
    ::syscall(SYS_futex, &arrived, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  ::_exit(told ? kFailed : kGaveUp);
}

// ---- the builders

namespace {

class Builder {
 public:
  Builder(const NewProcessRequest& request, bool old_ids, BuilderLink& link);

  [[noreturn]] void live_as_program();

 private:
  // A process to be: a running one (`member`) or one that has ended.
  struct Planned {
    const image::ProcessT* process;
    const NewMember* member;
  };

  [[noreturn]] void live(const Planned& self);
  [[noreturn]] void live_as_helper(std::int32_t group, bool leads);
  [[noreturn]] static void end_as(const image::ProcessT& process);
  enum class Children { StayBehind, Others };
  void make_children(const image::ProcessT& self, Children which);
  void make_orphans(const image::ProcessT& self);
  void make_orphans_of_session(const image::ProcessT& self, std::int32_t session);
  void make_leader_for_now(const image::ProcessT& self);
  void make_keeper(const image::ProcessT& self);
  void lead_group(const image::ProcessT& process) const;
  void join_group(const image::ProcessT& process) const;
  void discard_news_of_children(const image::ProcessT& self) const;
  void become(const NewMember& member);
  std::vector<int> kept_descriptors(const NewMember& member) const;
  pid_t make_process(std::int32_t id, int exit_signal) const;
  pid_t make_passing_process() const;

  bool is_outside(std::int32_t group) const;
  bool is_planned(std::int32_t id) const;
  std::int32_t maker_of_orphans(std::int32_t session) const;
  std::optional<std::int32_t> session_at_birth(const image::ProcessT& process) const;
  std::int32_t session_before(const image::ProcessT& orphan) const;
  bool stays_behind(const image::ProcessT& process, const image::ProcessT& parent) const;
  bool leads_others(const image::ProcessT& process) const;
  bool is_orphan(const image::ProcessT& process) const;
  template <typename Work>
  [[noreturn]] void do_or_fail(const Work& work);

  const NewProcessRequest& request_;
  RestoreObjects objects_;  // `descriptors_` refers to it
  bool old_ids_;
  BuilderLink& link_;
  std::vector<Planned> planned_;
  std::set<std::int32_t> leaderless_groups_;
  std::uint32_t count_;  // who meets at the stages
  std::unique_ptr<DescriptorRestore> descriptors_;
  std::vector<pid_t> helpers_;  // children that end when all groups are as they were
};

Builder::Builder(const NewProcessRequest& request, bool old_ids, BuilderLink& link)
    : request_(request),
      objects_{.object_descriptors = request.object_descriptors, .sockets = request.sockets},
      old_ids_(old_ids),
      link_(link) {
  for (const NewMember& member : request.members) {
    if (!member.forked)
      planned_.push_back({.process = member.view.checkpoint.process.get(), .member = &member});
  }
  for (const image::ProcessT* process : request.ended)
    planned_.push_back({.process = process, .member = nullptr});
  for (const Planned& planned : planned_) {
    std::int32_t group = planned.process->process_group;
    // That of a session's leader comes with the session.
    bool of_session = group == planned.process->session;
    if (!is_outside(group) && !is_planned(group) && !of_session) leaderless_groups_.insert(group);
  }
  auto keepers = std::ranges::count_if(
      planned_, [this](const Planned& planned) { return leads_others(*planned.process); });
  count_ = static_cast<std::uint32_t>(planned_.size() + leaderless_groups_.size()) +
           static_cast<std::uint32_t>(keepers);
}

// The group that ckptrun itself is in, unless the program has made one of its own.
bool Builder::is_outside(std::int32_t group) const {
  const image::ProcessT& program = *planned_.front().process;
  return group == program.process_group && group != program.pid;
}

bool Builder::is_planned(std::int32_t id) const {
  return std::ranges::any_of(planned_, [id](const Planned& planned) { return planned.process->pid == id; });
}

std::int32_t Builder::maker_of_orphans(std::int32_t session) const {
  // Also one that has ended, but was not waited for: it has the id.
  auto leader = std::ranges::find_if(
      planned_, [session](const Planned& planned) { return planned.process->pid == session; });
  return leader == planned_.end() ? planned_.front().process->pid : leader->process->pid;
}

// That in which a process has to be made: its own, or, if it leads one, that in which it has left children.
// None if any will do.
std::optional<std::int32_t> Builder::session_at_birth(const image::ProcessT& process) const {
  if (process.session != process.pid) return process.session;
  for (const Planned& planned : planned_) {
    const image::ProcessT& child = *planned.process;
    if (child.parent == process.pid && stays_behind(child, process)) return session_at_birth(child);
  }
  return std::nullopt;
}

bool Builder::stays_behind(const image::ProcessT& process, const image::ProcessT& parent) const {
  std::optional<std::int32_t> session = session_at_birth(process);
  return parent.session == parent.pid && session && *session != parent.session;
}

std::int32_t Builder::session_before(const image::ProcessT& orphan) const {
  return session_at_birth(orphan).value_or(planned_.front().process->session);
}

// It has left the group that it had led.
bool Builder::leads_others(const image::ProcessT& process) const {
  return process.process_group != process.pid && std::ranges::any_of(planned_, [&](const Planned& other) {
           return other.process->process_group == process.pid;
         });
}

// One that has lost its parent; the program has none here in any case.
bool Builder::is_orphan(const image::ProcessT& process) const {
  return process.parent == 0 && &process != planned_.front().process;
}

pid_t Builder::make_process(std::int32_t id, int exit_signal) const {
  pid_t wanted = id;
  clone_args arguments{};
  arguments.exit_signal = static_cast<std::uint64_t>(exit_signal);
  if (old_ids_) {
    arguments.set_tid = reinterpret_cast<std::uintptr_t>(&wanted);
    arguments.set_tid_size = 1;
  }
  auto pid = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof(arguments)));
  if (pid < 0) throw_errno(fmt::format("make process {}", id));
  return pid;
}

// Under an id that nobody is going to need, not even for a group or a session whose leader has gone.
pid_t Builder::make_passing_process() const {
  std::int32_t highest = 0;
  auto add = [&highest](const image::ProcessT& process) {
    highest = std::max({highest, process.process_group, process.session});
    for (const auto& thread : process.threads) highest = std::max(highest, thread->tid);
  };
  for (const NewMember& member : request_.members) add(*member.view.checkpoint.process);
  for (const image::ProcessT* process : request_.ended) add(*process);
  constexpr int kTries = 1000;
  for (int i = 1; old_ids_ && i < kTries; ++i) {
    try {
      return make_process(highest + i, SIGCHLD);
    } catch (const Error& error) {
      if (error.code() != EEXIST) break;
    }
  }
  pid_t pid = ::fork();
  if (pid < 0) throw_errno("make a process");
  return pid;
}

// `work` ends by executing a program, or by ending the process.
template <typename Work>
void Builder::do_or_fail(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    link_.fail(error.what(), error.code());
  } catch (const std::exception& error) {
    link_.fail(error.what());
  }
  link_.fail("the new process went on without its program; this is an error in ckptrun");
}

void Builder::live_as_program() {
  link_.become_builder();
  do_or_fail([this] {
    block_all_signals();
    // What they were in ckptrun shall not decide what becomes of children.
    ::signal(SIGCHLD, SIG_DFL);
    if (request_.members.size() + request_.ended.size() > 1) {
      descriptors_ = std::make_unique<DescriptorRestore>(request_.members.front().view.checkpoint, objects_,
                                                         request_.scratch_base);
      descriptors_->tell_numbers(request_.description_numbers);
    }
    live(planned_.front());
  });
}

void Builder::live(const Planned& self) {
  do_or_fail([&] {
    const image::ProcessT& process = *self.process;
    link_.stand_for(process.pid);
    bool moves_on = leads_others(process);
    helpers_.clear();
    make_children(process, Children::StayBehind);
    lead_session(process);
    if (descriptors_ != nullptr) descriptors_->take_controlling_pty(process);
    make_children(process, Children::Others);
    make_orphans(process);
    make_leader_for_now(process);
    if (moves_on) make_keeper(process);
    link_.meet(kAllExist, count_);
    lead_group(process);
    link_.meet(kLeadersLead, count_);
    if (!moves_on) join_group(process);
    link_.meet(kGroupsJoined, count_);
    if (moves_on) join_group(process);
    link_.meet(kLeadersLeft, count_);
    for (pid_t helper : helpers_) ::waitpid(helper, nullptr, 0);
    if (self.member == nullptr) end_as(process);
    discard_news_of_children(process);
    become(*self.member);
  });
}

void Builder::make_children(const image::ProcessT& self, Children which) {
  for (const Planned& planned : planned_) {
    if (planned.process->parent != self.pid || planned.process == &self) continue;
    if (stays_behind(*planned.process, self) != (which == Children::StayBehind)) continue;
    if (make_process(planned.process->pid, planned.process->exit_signal) == 0) live(planned);
  }
}

void Builder::make_orphans(const image::ProcessT& self) {
  std::set<std::int32_t> sessions;
  for (const Planned& planned : planned_) {
    std::int32_t session = session_before(*planned.process);
    if (is_orphan(*planned.process) && maker_of_orphans(session) == self.pid) sessions.insert(session);
  }
  for (std::int32_t session : sessions) make_orphans_of_session(self, session);
}

void Builder::make_orphans_of_session(const image::ProcessT& self, std::int32_t session) {
  bool own = session == self.session;
  pid_t passing = own ? make_passing_process() : make_process(session, SIGCHLD);
  if (passing == 0) {
    if (!own) link_.stand_for(session);
    if (!own && ::setsid() < 0) throw_errno("start a session whose leader has ended");
    for (const Planned& planned : planned_) {
      const image::ProcessT& process = *planned.process;
      if (!is_orphan(process) || session_before(process) != session) continue;
      if (make_process(process.pid, SIGCHLD) == 0) live(planned);
    }
    ::_exit(0);
  }
  int status = 0;
  if (::waitpid(passing, &status, 0) != passing || status != 0)
    throw Error("a process whose parent had ended could not be made");
}

// By the first of the group.
void Builder::make_leader_for_now(const image::ProcessT& self) {
  std::int32_t group = self.process_group;
  if (!leaderless_groups_.contains(group)) return;
  auto first = std::ranges::find_if(
      planned_, [group](const Planned& planned) { return planned.process->process_group == group; });
  if (first->process != &self) return;
  pid_t leader = make_process(group, SIGCHLD);
  if (leader == 0) live_as_helper(group, true);
  helpers_.push_back(leader);
}

// The group that a process has left may have others only who have left one, too: in whatever order they go,
// it has to be there when they come.
void Builder::make_keeper(const image::ProcessT& self) {
  pid_t keeper = make_passing_process();
  if (keeper == 0) live_as_helper(self.pid, false);
  helpers_.push_back(keeper);
}

// There is a group for as long as somebody is in it: its leader, or another.
void Builder::live_as_helper(std::int32_t group, bool leads) {
  if (leads) link_.stand_for(group);
  link_.meet(kAllExist, count_);
  if (leads && ::setpgid(0, 0) != 0) link_.fail(fmt::format("process group {} cannot be made", group), errno);
  link_.meet(kLeadersLead, count_);
  if (!leads && ::setpgid(0, link_.current(group)) != 0)
    link_.fail(fmt::format("process group {} cannot be kept", group), errno);
  link_.meet(kGroupsJoined, count_);
  link_.meet(kLeadersLeft, count_);
  ::_exit(0);
}

void Builder::lead_group(const image::ProcessT& process) const {
  bool leads = process.process_group == process.pid || leads_others(process);
  if (!leads || ::getpgrp() == ::getpid()) return;
  if (::setpgid(0, 0) != 0) throw_errno("start a new process group");
}

void Builder::join_group(const image::ProcessT& process) const {
  if (process.process_group == process.pid || is_outside(process.process_group)) return;
  std::int32_t group = link_.current(process.process_group);
  if (::getpgrp() == group) return;
  // Nobody sees the group of a process that has ended.
  if (::setpgid(0, group) != 0 && !process.ended)
    throw_errno(fmt::format("join process group {}", process.process_group));
}

// Children that have ended already, and leaders for a while, have sent signals that nobody is to see.
void Builder::discard_news_of_children(const image::ProcessT& self) const {
  for (const Planned& planned : planned_) {
    if (planned.member != nullptr || planned.process->parent != self.pid) continue;
    siginfo_t ended{};
    while (::waitid(P_PID, static_cast<id_t>(link_.current(planned.process->pid)), &ended,
                    WEXITED | WNOWAIT) != 0 &&
           errno == EINTR) {
    }
  }
  std::uint64_t news = 1ULL << (SIGCHLD - 1);
  for (const Planned& planned : planned_) {
    if (planned.process->exit_signal > 0) news |= 1ULL << (planned.process->exit_signal - 1);
  }
  timespec now{};
  while (::syscall(SYS_rt_sigtimedwait, &news, nullptr, &now, sizeof(news)) > 0) {
  }
}

void Builder::end_as(const image::ProcessT& process) {
  ::prctl(PR_SET_NAME, process.threads.front()->name.c_str());
  if (WIFSIGNALED(process.exit_status)) {
    rlimit none{};
    ::setrlimit(RLIMIT_CORE, &none);
    ::signal(WTERMSIG(process.exit_status), SIG_DFL);
    ::kill(::getpid(), WTERMSIG(process.exit_status));
    std::uint64_t nothing = 0;
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &nothing, nullptr, sizeof(nothing));
  }
  ::_exit(WEXITSTATUS(process.exit_status));
}

// Beyond execve.
std::vector<int> Builder::kept_descriptors(const NewMember& member) const {
  std::vector<int> kept = member.kept_descriptors;
  for (std::size_t index : member.forks) {
    const NewMember& fork = request_.members[index];
    std::ranges::copy(fork.kept_descriptors, std::back_inserter(kept));
    for (const auto& descriptor : fork.view.checkpoint.process->descriptors) {
      auto description = static_cast<std::size_t>(descriptor->description);
      kept.push_back(request_.description_numbers[description]);
    }
  }
  return kept;
}

void Builder::become(const NewMember& member) {
  const image::ProcessT& process = *member.view.checkpoint.process;
  std::vector<int> kept = kept_descriptors(member);
  std::vector<int> keep = kept;
  keep.push_back(link_.report());
  keep.push_back(link_.go());
  if (descriptors_ != nullptr) {
    descriptors_->place(member.view, keep);
  } else {
    restore_descriptors(member.view.checkpoint, objects_, request_.scratch_base, keep);
  }
  apply_before_exec(process);
  for (int fd : kept) ::fcntl(fd, F_SETFD, 0);
  link_.ready();
  link_.await_go();
  std::string path = member.program_file;
  std::array<char*, 2> arguments{path.data(), nullptr};
  std::array<char*, 1> environment{nullptr};
  ::execve(path.c_str(), arguments.data(), environment.data());
  throw_errno(fmt::format("execute {}", path));
}

}  // namespace

void build_family(const NewProcessRequest& request, bool old_ids, BuilderLink& link) {
  Builder(request, old_ids, link).live_as_program();
}

}  // namespace ckpt::engine
