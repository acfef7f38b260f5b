// What an epoll instance watches is registered again last, when every descriptor is at its number.
#include "engine/resource/epoll.h"

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

#include "base/error.h"
#include "base/parse.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[eventpoll]";
}

// The value that follows "key:" in one line, up to the next blank.
std::optional<std::uint64_t> value_after(std::string_view line, std::string_view key, int base) {
  std::size_t found = line.find(key);
  if (found == std::string_view::npos) return std::nullopt;
  line.remove_prefix(found + key.size());
  while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
  return parse_unsigned(line.substr(0, line.find_first_of(" \t\n")), base);
}

// "tfd:        5 events:       19 data:                5  pos:0 ino:1c dev:b"
std::vector<image::EpollEntryT> parse_entries(const OpenDescription& description) {
  std::vector<image::EpollEntryT> entries;
  std::string_view text = description.info;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (!line.starts_with("tfd:")) continue;
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
  }
  return entries;
}

// The watched file may have lost its number since (closed while a duplicate lives), and the number may belong
// to something else now. `occurrence` counts the entries of the same number that came before.
bool still_has_its_number(const SaveState& state, int epoll, int number, unsigned occurrence) {
  kcmp_epoll_slot slot{static_cast<unsigned>(epoll), static_cast<unsigned>(number), occurrence};
  pid_t pid = state.context.pid;
  return ::syscall(SYS_kcmp, pid, pid, KCMP_EPOLL_TFD, static_cast<unsigned long>(number), &slot) == 0;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::EpollDetailT detail;
  std::map<int, unsigned> seen;
  for (image::EpollEntryT& entry : parse_entries(description)) {
    if (!still_has_its_number(state, description.number(), entry.descriptor, seen[entry.descriptor]++)) {
      throw Error(
          fmt::format("descriptor {} (epoll) watches what descriptor {} was before it was closed; remove it "
                      "with EPOLL_CTL_DEL "
                      "before closing it",
                      description.number(), entry.descriptor));
    }
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

// The new ckptrun's 0, 1, 2 may be of a sort that cannot be watched (a file instead of a terminal, EPERM):
// then nothing is reported for them, as if nothing happened there.
void connect(RestoreState& state, const image::DescriptionT& description, int number) {
  for (const auto& entry : description.detail.AsEpollDetail()->entries) {
    epoll_event event{};
    event.events = entry->events;
    event.data.u64 = entry->data;
    if (::epoll_ctl(number, EPOLL_CTL_ADD, entry->descriptor, &event) == 0) continue;
    int cause = errno;
    bool inherited = is_inherited(*state.checkpoint.process, entry->descriptor);
    if (inherited && (cause == EPERM || cause == EEXIST)) continue;
    throw_errno(fmt::format("let descriptor {} (epoll) watch descriptor {}", number, entry->descriptor),
                cause);
  }
}

}  // namespace

const ResourceKind kEpoll{
    "epoll", image::DescriptionDetail::EpollDetail, kAllSettableFlags, matches, save, check, restore,
    connect};

}  // namespace ckpt::engine::resource
