#include "engine/restore/forked_descriptors.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "engine/resource/epoll.h"

namespace ckpt::engine {
namespace {

// What others take has answers to be looked at (resource/epoll.cpp).
bool can_be_planned(const image::EpollEntryT& entry) {
  return entry.source < 0 && !resource::has_fired(entry);
}

// The epoll instances that this process has to set up, with a number that it has for each.
std::vector<const image::DescriptorT*> own_epolls(const ProcessView& view) {
  const image::ProcessT& process = *view.checkpoint.process;
  std::vector<const image::DescriptorT*> found;
  std::set<std::int32_t> seen;
  for (const auto& descriptor : process.descriptors) {
    auto index = static_cast<std::size_t>(descriptor->description);
    if (process.descriptions.at(index)->detail.AsEpollDetail() == nullptr || !view.owns(index)) continue;
    if (seen.insert(descriptor->description).second) found.push_back(descriptor.get());
  }
  return found;
}

const image::EpollDetailT& detail_of(const image::ProcessT& process, const image::DescriptorT& epoll) {
  return *process.descriptions.at(static_cast<std::size_t>(epoll.description))->detail.AsEpollDetail();
}

// ckptrun's 0, 1, 2 may be of a sort that cannot be watched.
bool is_inherited(const image::ProcessT& process, std::int32_t number) {
  return std::ranges::any_of(process.descriptors, [&](const auto& descriptor) {
    const auto& description = process.descriptions.at(static_cast<std::size_t>(descriptor->description));
    return descriptor->number == number && description->detail.AsInheritedDetail() != nullptr;
  });
}

void plan_watch(const image::ProcessT& process, std::int32_t epoll, const image::EpollEntryT& entry,
                PlanBuilder& plan) {
  epoll_event event{};
  event.events = entry.events;
  event.data.u64 = entry.data;
  std::string label = fmt::format("let descriptor {} (epoll) watch descriptor {}", epoll, entry.descriptor);
  std::initializer_list<std::uint64_t> arguments{static_cast<std::uint64_t>(epoll), EPOLL_CTL_ADD,
                                                 static_cast<std::uint64_t>(entry.descriptor),
                                                 plan.data_of(event).value};
  if (is_inherited(process, entry.descriptor)) return plan.attempt(label, SYS_epoll_ctl, arguments);
  plan.expect(label, SYS_epoll_ctl, arguments, 0);
}

}  // namespace

bool can_plan_descriptors(const ProcessView& view) {
  const image::ProcessT& process = *view.checkpoint.process;
  return std::ranges::all_of(own_epolls(view), [&](const image::DescriptorT* epoll) {
    return std::ranges::all_of(detail_of(process, *epoll).entries,
                               [](const auto& entry) { return can_be_planned(*entry); });
  });
}

void plan_forked_descriptors(const ProcessView& view, std::span<const std::int32_t> numbers, int scratch_base,
                             PlanBuilder& plan) {
  const image::ProcessT& process = *view.checkpoint.process;
  plan.expect("close descriptors of the parent", SYS_close_range,
              {0, static_cast<std::uint64_t>(scratch_base) - 1, 0}, 0);
  for (const auto& descriptor : process.descriptors) {
    int made = numbers[static_cast<std::size_t>(descriptor->description)];
    if (made < scratch_base)
      throw Error(fmt::format("descriptor {} was not made; this is an error in ckptrun", descriptor->number));
    plan.expect(fmt::format("make descriptor {}", descriptor->number), SYS_dup3,
                {static_cast<std::uint64_t>(made), static_cast<std::uint64_t>(descriptor->number), 0},
                descriptor->number);
  }
  for (const image::DescriptorT* epoll : own_epolls(view)) {
    for (const auto& entry : detail_of(process, *epoll).entries)
      plan_watch(process, epoll->number, *entry, plan);
  }
}

}  // namespace ckpt::engine
