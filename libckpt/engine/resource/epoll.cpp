// What an epoll instance watches is registered again last, when every descriptor is at its number.
#include "engine/resource/epoll.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "engine/resource/fdinfo_lines.h"
#include "engine/resource/pid_fd.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[eventpoll]";
}

// "tfd:        5 events:       19 data:                5  pos:0 ino:1c dev:b"
std::vector<image::EpollEntryT> parse_entries(const OpenDescription& description) {
  std::vector<image::EpollEntryT> entries;
  for_each_line(description.info, "tfd:", [&](std::string_view line) {
    auto number = value_after(line, "tfd:", 10);
    auto events = value_after(line, "events:", 16);
    auto data = value_after(line, "data:", 16);
    if (!number || !events || !data) {
      throw Error(fmt::format("the kernel describes {} in an unknown way: {}", description.what(), line));
    }
    image::EpollEntryT entry;
    entry.descriptor = static_cast<std::int32_t>(*number);
    entry.events = static_cast<std::uint32_t>(*events);
    entry.data = *data;
    entries.push_back(entry);
  });
  return entries;
}

// Whether what the entry watches is (also) descriptor `number` now. `occurrence` counts the entries of the
// same number that came before.
bool watches(const SaveState& state, int epoll, const image::EpollEntryT& entry, unsigned occurrence,
             int number) {
  kcmp_epoll_slot slot{static_cast<unsigned>(epoll), static_cast<unsigned>(entry.descriptor), occurrence};
  pid_t pid = state.context.pid;
  return ::syscall(SYS_kcmp, pid, pid, KCMP_EPOLL_TFD, static_cast<unsigned long>(number), &slot) == 0;
}

// The watched file may have lost its number since (closed while a duplicate lives), and the number may belong
// to something else now.
void find_source(const SaveState& state, const OpenDescription& epoll, unsigned occurrence,
                 image::EpollEntryT& entry) {
  if (watches(state, epoll.number(), entry, occurrence, entry.descriptor)) return;
  for (const OpenDescription& other : state.all) {
    int number = other.number_in(state.context.pid);
    if (number < 0 || !watches(state, epoll.number(), entry, occurrence, number)) continue;
    entry.source = number;
    return;
  }
  throw Error(fmt::format(
      "descriptor {} (epoll) watches what descriptor {} was before it was closed, and the program "
      "has no other descriptor of that; remove it with EPOLL_CTL_DEL before closing it",
      epoll.number(), entry.descriptor));
}

// Registrations are made before the threads are.
std::set<int> numbers_made_late(const SaveState& state) {
  std::set<int> numbers;
  for (const OpenDescription& description : state.all) {
    if (!is_made_late(state, description)) continue;
    for (const auto& number : description.numbers) {
      if (number.holder == state.context.pid) numbers.insert(number.number);
    }
  }
  return numbers;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::EpollDetailT detail;
  std::map<int, unsigned> seen;
  std::set<int> late = numbers_made_late(state);
  for (image::EpollEntryT& entry : parse_entries(description)) {
    if (late.contains(entry.descriptor)) {
      throw Error(
          fmt::format("descriptor {} (epoll) watches the pidfd of a thread, descriptor {}; remove it with "
                      "EPOLL_CTL_DEL before the checkpoint",
                      description.number(), entry.descriptor));
    }
    find_source(state, description, seen[entry.descriptor]++, entry);
    detail.entries.push_back(std::make_unique<image::EpollEntryT>(entry));
  }
  return as_detail(std::move(detail));
}

std::string check(CheckState&, const image::DescriptionT&) { return {}; }

UniqueFd restore(RestoreState&, const image::DescriptionT&) {
  UniqueFd fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!fd) throw_errno("make an epoll instance");
  return fd;
}

bool is_inherited(const image::ProcessT& process, int number) {
  return std::ranges::any_of(process.descriptors, [&](const auto& descriptor) {
    if (descriptor->number != number) return false;
    const auto& description = process.descriptions.at(static_cast<std::size_t>(descriptor->description));
    return description->detail.type == image::DescriptionDetail::InheritedDetail;
  });
}

// Lets another description have a number for a while.
class BorrowedNumber {
 public:
  BorrowedNumber(const RestoreState& state, int number, int source)
      : number_(number), before_(::fcntl(number, F_DUPFD_CLOEXEC, state.scratch_base)) {
    if (!before_ && errno != EBADF) throw_errno(fmt::format("move descriptor {} out of the way", number));
    if (::dup2(source, number) < 0) throw_errno(fmt::format("make descriptor {}", number));
  }
  ~BorrowedNumber() {
    if (before_) {
      ::dup2(before_.get(), number_);
    } else {
      ::close(number_);
    }
  }
  BorrowedNumber(const BorrowedNumber&) = delete;
  BorrowedNumber& operator=(const BorrowedNumber&) = delete;

 private:
  int number_;
  UniqueFd before_;
};

constexpr std::uint32_t kWays = EPOLLONESHOT | EPOLLET | EPOLLWAKEUP | EPOLLEXCLUSIVE;

// Only an event that is reported leads there; without one at hand it may report an error or hang-up.
void fire(int epoll, const image::EpollEntryT& entry, epoll_event event) {
  event.events |= EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP;
  if (::epoll_ctl(epoll, EPOLL_CTL_MOD, entry.descriptor, &event) != 0)
    throw_errno("change what epoll watches");
  epoll_event ignored{};
  if (::epoll_wait(epoll, &ignored, 1, 0) == 1) return;
  event.events = entry.events;
  if (::epoll_ctl(epoll, EPOLL_CTL_MOD, entry.descriptor, &event) != 0)
    throw_errno("change what epoll watches");
}

// The new ckptrun's 0, 1, 2 may be of a sort that cannot be watched (a file instead of a terminal, EPERM):
// then nothing is reported for them, as if nothing happened there.
void add(RestoreState& state, int epoll, const image::EpollEntryT& entry) {
  std::optional<BorrowedNumber> borrowed;
  if (entry.source >= 0) borrowed.emplace(state, entry.descriptor, entry.source);
  epoll_event event{};
  event.events = entry.events;
  event.data.u64 = entry.data;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, entry.descriptor, &event) == 0) {
    if (has_fired(entry)) fire(epoll, entry, event);
    return;
  }
  int cause = errno;
  int watched = entry.source >= 0 ? entry.source : entry.descriptor;
  if (is_inherited(*state.checkpoint.process, watched) && (cause == EPERM || cause == EEXIST)) return;
  throw_errno(fmt::format("let descriptor {} (epoll) watch descriptor {}", epoll, entry.descriptor), cause);
}

// Those that have fired come first, while theirs is the only event that can be reported.
void connect(RestoreState& state, const image::DescriptionT& description, int number) {
  const auto& entries = description.detail.AsEpollDetail()->entries;
  for (bool fired : {true, false}) {
    for (const auto& entry : entries) {
      if (has_fired(*entry) == fired) add(state, number, *entry);
    }
  }
}

}  // namespace

bool has_fired(const image::EpollEntryT& entry) {
  return (entry.events & EPOLLONESHOT) != 0 && (entry.events & ~kWays) == 0;
}

const ResourceKind kEpoll{"epoll",
                          image::DescriptionDetail::EpollDetail,
                          kAllSettableFlags,
                          matches,
                          save,
                          check,
                          restore,
                          connect,
                          nullptr,
                          true};

}  // namespace ckpt::engine::resource
