// Order, and why: ckptrun's 0, 1, 2 are duplicated above the scratch base; then every number below it is
// closed, so that each description can be made at any free number and put to its own numbers at once without
// meeting anything. Only what is needed again (ends of pipes and FIFOs) is lifted above the scratch base.
// Registrations that refer to other descriptors come when all are in place. Last, everything above the
// scratch base goes, except `keep`.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <set>
#include <string_view>

#include "base/error.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/pty_master.h"
#include "engine/resource/resource_kinds.h"

namespace ckpt::engine {
namespace resource {
namespace {

void check_scratch_base(const image::ProcessT& process, int scratch_base, std::span<const int> keep) {
  bool below = std::ranges::any_of(keep, [&](int fd) { return fd < scratch_base; });
  if (below || scratch_base < first_free_descriptor(process)) {
    throw Error(fmt::format("descriptors to keep are in the way below {}; this is an error in ckptrun",
                            scratch_base));
  }
}

void raise_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) throw_errno("read the limit on open files");
  if (limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) throw_errno("raise the limit on open files");
}

void close_numbers(unsigned first, unsigned last) {
  if (first <= last && ::close_range(first, last, 0) != 0) {
    throw_errno(fmt::format("close descriptors {} to {}", first, last));
  }
}

void take_inherited(RestoreState& state) {
  for (int own = 0; own <= 2; ++own) {
    if (::fcntl(own, F_GETFD) < 0) continue;
    UniqueFd copy(::fcntl(own, F_DUPFD_CLOEXEC, state.scratch_base));
    if (!copy)
      throw_errno(fmt::format("move descriptor {} of ckptrun to {} or above", own, state.scratch_base));
    state.inherited.at(static_cast<std::size_t>(own)) = std::move(copy);
  }
}

std::vector<int> numbers_of(const image::ProcessT& process, std::size_t description) {
  std::vector<int> numbers;
  for (const auto& descriptor : process.descriptors) {
    if (static_cast<std::size_t>(descriptor->description) == description)
      numbers.push_back(descriptor->number);
  }
  return numbers;
}

void restore_flags(int fd, const ResourceKind& kind, const image::DescriptionT& description) {
  int current = ::fcntl(fd, F_GETFL);
  if (current < 0) throw_errno("read the status flags of a descriptor");
  int saved = static_cast<int>(description.status_flags);
  int wanted = (current & ~kind.settable_flags) | (saved & kind.settable_flags);
  if (wanted != current && ::fcntl(fd, F_SETFL, wanted) != 0) {
    throw_errno(fmt::format("set the status flags of a {} to {:o}", kind.name, wanted));
  }
}

void place(UniqueFd fd, const std::vector<int>& numbers) {
  for (int number : numbers) {
    if (number == fd.get()) {
      if (::fcntl(number, F_SETFD, 0) != 0) throw_errno(fmt::format("keep descriptor {} open", number));
    } else if (::dup2(fd.get(), number) < 0) {
      throw_errno(fmt::format("make descriptor {}", number));
    }
  }
  if (std::ranges::find(numbers, fd.get()) != numbers.end()) static_cast<void>(fd.release());
}

void restore_one(RestoreState& state, const image::DescriptionT& description,
                 const std::vector<int>& numbers) try {
  const ResourceKind& kind = kind_of(description);
  UniqueFd fd = kind.restore(state, description);
  place(std::move(fd), numbers);
  if ((description.status_flags & O_PATH) != 0) return;
  restore_flags(numbers.front(), kind, description);
} catch (const Error& error) {
  throw Error(fmt::format("descriptor {}: {}", numbers.front(), error.what()), error.code());
}

// One that has no number yet, or, if it is only under way in a socket, never gets one. `what` it is, for
// messages.
UniqueFd restore_unnumbered(RestoreState& state, const image::DescriptionT& description,
                            std::string_view what) try {
  const ResourceKind& kind = kind_of(description);
  UniqueFd fd = state.lift(kind.restore(state, description));
  if ((description.status_flags & O_PATH) == 0) restore_flags(fd.get(), kind, description);
  return fd;
} catch (const Error& error) {
  throw Error(fmt::format("{}: {}", what, error.what()), error.code());
}

void restore_all(RestoreState& state) {
  const image::ProcessT& process = *state.checkpoint.process;
  std::vector<std::vector<int>> numbers;
  for (std::size_t i = 0; i < process.descriptions.size(); ++i) numbers.push_back(numbers_of(process, i));
  for (std::size_t i = 0; i < process.descriptions.size(); ++i) {
    const image::DescriptionT& description = *process.descriptions[i];
    if (numbers[i].empty()) {
      state.unnumbered.push_back(
          restore_unnumbered(state, description, "a descriptor sent through a socket"));
    } else {
      restore_one(state, description, numbers[i]);
    }
    state.description_numbers[static_cast<std::int32_t>(i)] =
        numbers[i].empty() ? state.unnumbered.back().get() : numbers[i].front();
  }
  for (std::size_t i = 0; i < process.descriptions.size(); ++i) {
    auto connect = kind_of(*process.descriptions[i]).connect;
    if (connect != nullptr && !numbers[i].empty())
      connect(state, *process.descriptions[i], numbers[i].front());
  }
}

// For several processes: nobody has its numbers yet. What refers to numbers is left to those who have them.
void make_descriptions(RestoreState& state) {
  const auto& descriptions = state.checkpoint.process->descriptions;
  for (std::size_t i = 0; i < descriptions.size(); ++i) {
    state.unnumbered.push_back(
        restore_unnumbered(state, *descriptions[i], "a descriptor of the program or its relatives"));
    state.description_numbers[static_cast<std::int32_t>(i)] = state.unnumbered.back().get();
  }
  for (std::size_t i = 0; i < descriptions.size(); ++i) {
    const ResourceKind& kind = kind_of(*descriptions[i]);
    if (kind.connect != nullptr && !kind.connects_by_number)
      kind.connect(state, *descriptions[i], state.unnumbered[i].get());
  }
}

void place_copies(const RestoreState& state, const image::ProcessT& process) {
  for (const auto& descriptor : process.descriptors) {
    int made = state.description_numbers.at(descriptor->description);
    if (::dup2(made, descriptor->number) < 0)
      throw_errno(fmt::format("make descriptor {}", descriptor->number));
  }
}

void connect_own(const ProcessView& view, const RestoreObjects& objects, int scratch_base) {
  RestoreState state{view.checkpoint, objects, scratch_base};
  std::set<std::int32_t> done;
  const image::ProcessT& process = *view.checkpoint.process;
  for (const auto& descriptor : process.descriptors) {
    auto index = static_cast<std::size_t>(descriptor->description);
    const image::DescriptionT& description = *process.descriptions.at(index);
    const ResourceKind& kind = kind_of(description);
    if (kind.connect == nullptr || !kind.connects_by_number || !view.owns(index)) continue;
    if (done.insert(descriptor->description).second) kind.connect(state, description, descriptor->number);
  }
}

// Afterwards every number below the scratch base is free.
void clear_numbers(RestoreState& state) {
  raise_limit();
  take_inherited(state);
  close_numbers(0, static_cast<unsigned>(state.scratch_base) - 1);
}

void close_from(int first, std::span<const int> keep) {
  std::vector<int> kept(keep.begin(), keep.end());
  std::ranges::sort(kept);
  auto next = static_cast<unsigned>(first);
  for (int fd : kept) {
    auto number = static_cast<unsigned>(fd);
    if (number > next) close_numbers(next, number - 1);
    next = std::max(next, number + 1);
  }
  close_numbers(next, UINT_MAX);
}

}  // namespace
}  // namespace resource

void restore_descriptors(const image::CheckpointT& checkpoint, const RestoreObjects& objects,
                         int scratch_base, std::span<const int> keep) {
  resource::check_scratch_base(*checkpoint.process, scratch_base, keep);
  {
    resource::RestoreState state{checkpoint, objects, scratch_base};
    resource::clear_numbers(state);
    resource::restore_all(state);
  }
  resource::close_from(scratch_base, keep);
}

struct DescriptorRestore::State {
  resource::RestoreState restore;
};

DescriptorRestore::DescriptorRestore(const image::CheckpointT& checkpoint, const RestoreObjects& objects,
                                     int scratch_base)
    : state_(std::make_unique<State>(State{{checkpoint, objects, scratch_base}})) {
  resource::clear_numbers(state_->restore);
  resource::make_descriptions(state_->restore);
}

DescriptorRestore::~DescriptorRestore() = default;

void DescriptorRestore::tell_numbers(std::span<std::int32_t> numbers) const {
  if (numbers.empty()) return;
  for (const auto& [description, number] : state_->restore.description_numbers)
    numbers[static_cast<std::size_t>(description)] = number;
}

void DescriptorRestore::take_controlling_pty(const image::ProcessT& leader) const {
  resource::take_controlling_pty(leader, state_->restore.description_numbers);
}

void DescriptorRestore::place(const ProcessView& view, std::span<const int> keep) {
  const resource::RestoreState& made = state_->restore;
  resource::check_scratch_base(*view.checkpoint.process, made.scratch_base, keep);
  resource::place_copies(made, *view.checkpoint.process);
  resource::connect_own(view, made.objects, made.scratch_base);
  resource::close_from(made.scratch_base, keep);
}

}  // namespace ckpt::engine
