// Pseudo-terminals that the program runs itself: it has the master, and perhaps slaves (see terminal.cpp).
// They come back with their modes, window size, and the bytes under way; under their old number, which is the
// slave's name, if that is free.
//
// What is lost: that packet mode had something to report, and marks of end-of-file between bytes.
#include "engine/resource/pty_master.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "base/proc_stat.h"
#include "engine/resource/finishing.h"
#include "engine/resource/open_for_copy.h"
#include "engine/resource/pty_bytes.h"
#include "engine/resource/reopen.h"
#include "engine/resource/terminal_modes.h"

namespace ckpt::engine::resource {
namespace {

constexpr const char* kMultiplexer = "/dev/ptmx";
constexpr unsigned kSlaveMajor = 136;  // Documentation/admin-guide/devices.txt

bool matches(const SaveState&, const OpenDescription& description) {
  return S_ISCHR(description.status.st_mode) && description.status.st_rdev == makedev(5, 2) &&
         description.access_mode() >= 0;
}

std::optional<int> index_of(const OpenDescription& description) {
  auto index = parse_unsigned(description.info_field("tty-index"));
  return index ? std::optional(static_cast<int>(*index)) : std::nullopt;
}

int get_flag(int fd, unsigned long request, const char* what) {
  int value = 0;
  if (::ioctl(fd, request, &value) != 0) throw_errno(fmt::format("read {} of a pseudo-terminal", what));
  return value;
}

void set_flag(int fd, unsigned long request, int value, const char* what) {
  if (::ioctl(fd, request, &value) != 0) throw_errno(fmt::format("set {} of a pseudo-terminal", what));
}

const OpenDescription* slave_of(const SaveState& state, int index) {
  auto found = std::ranges::find_if(state.all, [&](const OpenDescription& other) {
    return other.access_mode() >= 0 && S_ISCHR(other.status.st_mode) &&
           other.status.st_rdev == makedev(kSlaveMajor, static_cast<unsigned>(index));
  });
  return found == state.all.end() ? nullptr : &*found;
}

bool hung_up(int master) { return (poll_now(master, 0) & POLLHUP) != 0; }

// Read, and put back at once: the program is to find them when it goes on.
void save_bytes(int master, const OpenDescription* slave, image::PtyMasterDetailT& detail) {
  UniqueFd own;
  if (slave != nullptr) own = open_own(*slave, O_RDWR);
  if (detail.packet_mode) set_flag(master, TIOCPKT, 0, "packet mode");
  PtyBytes bytes = take_bytes(master, own.get());
  if (!bytes.to_master.empty() && !own) own = open_slave(master, O_RDWR | O_NONBLOCK);
  put_bytes(master, own.get(), bytes);
  if (detail.packet_mode) set_flag(master, TIOCPKT, 1, "packet mode");
  detail.to_slave = std::move(bytes.to_slave);
  detail.to_master = std::move(bytes.to_master);
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::PtyMasterDetailT detail;
  std::optional<int> index = index_of(description);
  if (!index) throw Error(fmt::format("the kernel does not tell the number of {}", description.what()));
  UniqueFd master = copy_descriptor(description);
  detail.index = *index;
  detail.locked = get_flag(master.get(), TIOCGPTLCK, "the lock") != 0;
  detail.packet_mode = get_flag(master.get(), TIOCGPKT, "packet mode") != 0;
  detail.modes = terminal_modes(master.get());
  detail.window = window_size(master.get());
  const OpenDescription* slave = slave_of(state, *index);
  detail.slave = slave != nullptr || hung_up(master.get());  // open now, or once
  save_bytes(master.get(), slave, detail);
  return as_detail(std::move(detail));
}

std::string check(CheckState& state, const image::DescriptionT& description) {
  int index = description.detail.AsPtyMasterDetail()->index;
  if (state.notes != nullptr && ::access(fmt::format("/dev/pts/{}", index).c_str(), F_OK) == 0) {
    state.notes->push_back(
        fmt::format("pseudo-terminal /dev/pts/{} is taken; the program's own gets another number", index));
  }
  return ::access(kMultiplexer, R_OK | W_OK) == 0 ? std::string()
                                                  : fmt::format("{} is missing", kMultiplexer);
}

// The lowest free number is given out: those below the wanted one are held until it comes.
UniqueFd make_master(int index) {
  std::vector<UniqueFd> made;
  for (;;) {
    made.push_back(open_or_throw(kMultiplexer, O_RDWR | O_NOCTTY));
    int number = get_flag(made.back().get(), TIOCGPTN, "the number");
    if (number == index) return std::move(made.back());
    if (number > index) return std::move(made.front());
  }
}

const image::DescriptionT& saved_master(const RestoreState& state, int index) {
  for (const auto& description : state.checkpoint.process->descriptions) {
    const image::PtyMasterDetailT* detail = description->detail.AsPtyMasterDetail();
    if (detail != nullptr && detail->index == index) return *description;
  }
  throw Error(fmt::format("the master of pseudo-terminal {} is not in the checkpoint; it is damaged", index));
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  int master = restored_master(state, description.detail.AsPtyMasterDetail()->index);
  return duplicate(master, "the master of a pseudo-terminal");
}

// A slave that was open and is not any more has hung up: opening and closing it leads there again.
void connect(RestoreState&, const image::DescriptionT& description, int number) {
  const image::PtyMasterDetailT& detail = *description.detail.AsPtyMasterDetail();
  set_terminal_modes(number, detail.modes);
  set_window_size(number, detail.window);
  if (detail.slave) {
    UniqueFd slave = open_slave(number, O_RDWR | O_NONBLOCK);
    put_bytes(number, slave.get(), {.to_slave = detail.to_slave, .to_master = detail.to_master});
  }
  set_flag(number, TIOCSPTLCK, detail.locked ? 1 : 0, "the lock");
  if (detail.packet_mode) set_flag(number, TIOCPKT, 1, "packet mode");
}

}  // namespace

std::optional<int> pty_inside(const SaveState& state, dev_t device) {
  if (major(device) != kSlaveMajor) return std::nullopt;
  auto index = static_cast<int>(minor(device));
  bool inside = std::ranges::any_of(state.all, [&](const OpenDescription& other) {
    return matches(state, other) && index_of(other) == index;
  });
  return inside ? std::optional(index) : std::nullopt;
}

int restored_master(RestoreState& state, int index) {
  auto found = state.ptys.find(index);
  if (found != state.ptys.end()) return found->second.get();
  static_cast<void>(saved_master(state, index));
  UniqueFd master = state.lift(make_master(index));
  set_flag(master.get(), TIOCSPTLCK, 0, "the lock");
  return state.ptys.emplace(index, std::move(master)).first->second.get();
}

UniqueFd open_slave(int master, int flags) {
  UniqueFd slave(::ioctl(master, TIOCGPTPEER, flags | O_NOCTTY));
  // Not by O_CLOEXEC, which would stay in what F_GETFL tells the program.
  if (!slave || ::fcntl(slave.get(), F_SETFD, FD_CLOEXEC) != 0)
    throw_errno("open the slave of a pseudo-terminal");
  return slave;
}

dev_t controlling_terminal(pid_t pid) {
  auto encoded = static_cast<unsigned>(ProcStat(pid).controlling_terminal());
  return makedev((encoded >> 8U) & 0xfffU, (encoded & 0xffU) | ((encoded >> 12U) & 0xfff00U));
}

void save_controlling_pty(const SaveState& state, image::ProcessT& process) {
  process.controlling_pty = -1;
  if (process.session != process.pid) return;
  process.controlling_pty = pty_inside(state, controlling_terminal(state.context.pid)).value_or(-1);
  if (process.controlling_pty < 0) return;
  std::int64_t group = ProcStat(state.context.pid).foreground_group();
  for (pid_t pid : state.together.processes) {
    if (::getpgid(pid) == group) process.foreground_group = innermost_id(pid, "NSpgid");
  }
}

namespace {

// A descriptor of the process for the slave of pseudo-terminal `index`, opened through its master if that is
// what the process has (`opened`); -1 if it has neither.
std::int64_t slave_descriptor(FinishState& state, int index, bool& opened) {
  const image::ProcessT& process = *state.checkpoint.process;
  std::int64_t found = -1;
  for (const auto& descriptor : process.descriptors) {
    const auto& description = process.descriptions.at(static_cast<std::size_t>(descriptor->description));
    const image::TerminalDetailT* slave = description->detail.AsTerminalDetail();
    if (slave != nullptr && slave->pty == index) return descriptor->number;
    const image::PtyMasterDetailT* master = description->detail.AsPtyMasterDetail();
    if (master != nullptr && master->index == index) found = descriptor->number;
  }
  if (found < 0) return -1;
  opened = true;
  return call_or_throw(state.program, "open the controlling terminal", SYS_ioctl,
                       {static_cast<std::uint64_t>(found), TIOCGPTPEER, O_RDWR | O_NOCTTY});
}

}  // namespace

void take_controlling_pty(const image::ProcessT& leader, const std::map<std::int32_t, int>& made) {
  if (leader.controlling_pty < 0) return;
  for (const auto& [index, number] : made) {
    const auto& description = leader.descriptions.at(static_cast<std::size_t>(index));
    const image::PtyMasterDetailT* master = description->detail.AsPtyMasterDetail();
    if (master == nullptr || master->index != leader.controlling_pty) continue;
    UniqueFd slave = open_slave(number, O_RDWR);
    if (::ioctl(slave.get(), TIOCSCTTY, 0) != 0) throw_errno("make a pseudo-terminal the controlling one");
    return;
  }
}

// The process has been the leader of a new session since before it executed the program; where it has
// relatives, with this terminal, so that only the foreground group is left to do.
void finish_controlling_pty(FinishState& state) {
  int index = state.checkpoint.process->controlling_pty;
  if (index < 0) return;
  bool opened = false;
  std::int64_t slave = slave_descriptor(state, index, opened);
  if (slave < 0) {
    state.notes.push_back(
        fmt::format("session {} has lost its controlling terminal, which its leader had not open",
                    state.checkpoint.process->session));
    return;
  }
  auto fd = static_cast<std::uint64_t>(slave);
  call_or_throw(state.program, "make it the controlling terminal", SYS_ioctl, {fd, TIOCSCTTY, 0});
  if (std::int32_t saved = state.checkpoint.process->foreground_group; saved != 0) {
    std::int32_t group = state.program.current_tid(saved);
    RemoteAddr address = state.program.place(std::as_bytes(std::span(&group, 1)));
    call_or_throw(state.program, "set the foreground process group", SYS_ioctl,
                  {fd, TIOCSPGRP, address.value});
  }
  if (opened) call_or_throw(state.program, "close the controlling terminal", SYS_close, {fd});
}

const ResourceKind kPtyMaster{"pseudo-terminal",
                              image::DescriptionDetail::PtyMasterDetail,
                              kAllSettableFlags,
                              matches,
                              save,
                              check,
                              restore,
                              connect};

}  // namespace ckpt::engine::resource
