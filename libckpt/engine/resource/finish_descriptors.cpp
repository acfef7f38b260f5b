#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "base/error.h"
#include "engine/resource/async_owner.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/file_locks.h"
#include "engine/resource/pty_master.h"
#include "engine/resource/resource_kinds.h"
#include "engine/resource/session_terminal.h"

namespace ckpt::engine {
namespace resource {
namespace {

using Numbers = std::vector<const image::DescriptorT*>;

std::map<std::int32_t, Numbers> numbers_by_description(const image::ProcessT& process) {
  std::map<std::int32_t, Numbers> numbers;
  for (const auto& descriptor : process.descriptors)
    numbers[descriptor->description].push_back(descriptor.get());
  return numbers;
}

void finish_one(FinishState& state, const image::DescriptionT& description, const Numbers& numbers) try {
  auto finish = kind_of(description).finish;
  if (finish != nullptr) finish(state, description, numbers);
  finish_owner(state, description, numbers.front()->number);
  finish_locks(state, description, numbers.front()->number);
} catch (const Error& error) {
  throw Error(fmt::format("descriptor {}: {}", numbers.front()->number, error.what()), error.code());
}

}  // namespace
}  // namespace resource

void finish_descriptors(const ProcessView& view, ProgramCalls& program, LockPolicy locks,
                        std::vector<std::string>& notes, std::vector<FileLockOutcome>* outcomes) {
  const image::ProcessT& process = *view.checkpoint.process;
  resource::FinishState state{view.checkpoint, program, view.program_id, locks, notes};
  for (const auto& [description, numbers] : resource::numbers_by_description(process)) {
    auto index = static_cast<std::size_t>(description);
    if (view.owns(index)) resource::finish_one(state, *process.descriptions.at(index), numbers);
  }
  for (const auto& descriptor : process.descriptors) resource::finish_own_locks(state, *descriptor);
  resource::finish_controlling_pty(state);
  resource::finish_session_terminal(state);
  if (outcomes != nullptr) std::ranges::move(state.file_locks, std::back_inserter(*outcomes));
}

}  // namespace ckpt::engine
