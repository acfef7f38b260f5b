#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/resource_kinds.h"

namespace ckpt::engine {
namespace {

const image::DescriptionT& description_of(const image::ProcessT& process,
                                          const image::DescriptorT& descriptor) {
  auto index = static_cast<std::size_t>(descriptor.description);
  if (descriptor.number < 0 || descriptor.description < 0 || index >= process.descriptions.size()) {
    throw Error(fmt::format("descriptor {} of the checkpoint has no description; the checkpoint is damaged",
                            descriptor.number));
  }
  return *process.descriptions[index];
}

std::string limit_problem(int number) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) throw_errno("read the limit on open files");
  if (static_cast<rlim_t>(number) < limit.rlim_max) return {};
  return fmt::format("its number is not below the hard limit on open files, {}", limit.rlim_max);
}

// Those that the last check found go to the caller, or else are a problem.
std::string take_lost_addresses(resource::CheckState& state, int number, std::vector<LostAddress>* lost) {
  std::string problem;
  for (LostAddress& address : std::exchange(state.lost_addresses, {})) {
    address.descriptor = number;
    problem = fmt::format("a {} cannot be bound to {} again: {}", address.what, address.address,
                          describe_errno(address.error));
    if (lost != nullptr) lost->push_back(std::move(address));
  }
  return lost != nullptr ? std::string() : problem;
}

}  // namespace

void check_descriptors(const ProcessView& view, std::vector<std::string>* notes,
                       std::vector<LostAddress>* lost) {
  const image::CheckpointT& checkpoint = view.checkpoint;
  resource::CheckState state{checkpoint, notes};
  std::vector<std::string> problems;
  std::vector<bool> checked(checkpoint.process->descriptions.size());
  for (const auto& descriptor : checkpoint.process->descriptors) {
    const image::DescriptionT& description = description_of(*checkpoint.process, *descriptor);
    std::string problem = limit_problem(descriptor->number);
    auto index = static_cast<std::size_t>(descriptor->description);
    if (problem.empty() && !checked[index] && view.owns(index))
      problem = resource::kind_of(description).check(state, description);
    checked[index] = true;
    if (problem.empty()) problem = take_lost_addresses(state, descriptor->number, lost);
    if (!problem.empty()) problems.push_back(fmt::format("descriptor {}: {}", descriptor->number, problem));
  }
  if (problems.empty()) return;
  throw Error(
      fmt::format("what the program had open cannot be opened again: {}; put it back as it was, or recover "
                  "another version",
                  fmt::join(problems, ", ")));
}

}  // namespace ckpt::engine
