#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "engine/resource/async_owner.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/file_locks.h"
#include "engine/resource/kept_elsewhere.h"
#include "engine/resource/pty_master.h"
#include "engine/resource/resource_kinds.h"
#include "engine/resource/session_terminal.h"
#include "engine/resource/socket/inet_socket.h"
#include "engine/resource/socket/silence_connections.h"
#include "engine/resource/unsupported.h"

namespace ckpt::engine {
namespace resource {
namespace {

const ResourceKind& find_kind(const SaveState& state, const OpenDescription& description) {
  for (const ResourceKind* kind : resource_kinds()) {
    if (kind->matches(state, description)) return *kind;
  }
  refuse_unsupported(state, description);
}

std::unique_ptr<image::DescriptionT> save_one(SaveState& state, OpenDescription& description) {
  const ResourceKind& kind = find_kind(state, description);
  auto saved = std::make_unique<image::DescriptionT>();
  if (&kind == &kKeptElsewhere) {
    saved->detail = kind.save(state, description);
    return saved;
  }
  saved->status_flags = static_cast<std::uint32_t>(description.flags);
  saved->offset = description.offset;
  save_locks(state, description, *saved);
  if (description.access_mode() >= 0) {
    UniqueFd copy = copy_descriptor(description);
    save_owner(state, description, copy.get(), *saved);
    description.shown_close_on_exec = (::fcntl(copy.get(), F_GETFL) & O_CLOEXEC) != 0;
  }
  saved->detail = kind.save(state, description);
  return saved;
}

bool ask_close_on_exec(ProgramCalls& calls, int number) {
  std::int64_t flags = calls.call(SYS_fcntl, {static_cast<std::uint64_t>(number), F_GETFD});
  if (flags < 0)
    throw_errno(fmt::format("read the flags of descriptor {}", number), static_cast<int>(-flags));
  return (flags & FD_CLOEXEC) != 0;
}

std::unique_ptr<image::DescriptorT> save_number(SaveContext& context, const OpenDescription::Number& number,
                                                const OpenDescription& shown, std::size_t description) {
  auto saved = std::make_unique<image::DescriptorT>();
  saved->number = number.number;
  saved->close_on_exec = shown.shown_close_on_exec && context.calls != nullptr
                             ? ask_close_on_exec(*context.calls, number.number)
                             : number.close_on_exec;
  saved->description = static_cast<std::int32_t>(description);
  return saved;
}

}  // namespace
}  // namespace resource

struct DescriptorCapture::State {
  resource::SavedTogether together;
  std::vector<std::unique_ptr<image::DescriptionT>>
      saved;  // as together.all, then those under way in sockets
};

DescriptorCapture::DescriptorCapture(std::span<const pid_t> pids, const SideBySide& side_by_side)
    : state_(std::make_unique<State>()) {
  state_->together.program = pids.front();
  state_->together.processes.assign(pids.begin(), pids.end());
  state_->together.all = resource::list_descriptions(pids, side_by_side);
  state_->saved.resize(state_->together.all.size());
}

DescriptorCapture::~DescriptorCapture() = default;

void DescriptorCapture::save(SaveContext& context, image::ProcessT& process) {
  resource::SaveState state{context, process.pid, state_->together};
  process.descriptions.clear();
  process.descriptors.clear();
  for (std::size_t i = 0; i < state.all.size(); ++i) {
    if (state.all[i].holder() == context.pid)
      state_->saved[i] = resource::save_one(state, state_->together.all[i]);
    for (const auto& number : state.all[i].numbers) {
      if (number.holder != context.pid) continue;
      process.descriptors.push_back(resource::save_number(context, number, state.all[i], i));
      if (state.all[i].holder() != context.pid && number.number == state.all[i].number_in(context.pid))
        resource::save_own_locks(state, state.all[i], number, *process.descriptors.back());
    }
  }
  std::ranges::sort(process.descriptors, {}, &image::DescriptorT::number);
  resource::save_controlling_pty(state, process);
}

// Those that are under way in sockets are open in this process, and saved as if it were the program. Saving a
// socket may bring forth more of them.
void DescriptorCapture::finish(SaveContext& context, image::ProcessT& first) {
  resource::SaveState state{context, first.pid, state_->together};
  SaveContext own_context{::getpid(), context.writer, context.objects, context.notes, context.files_to_sync};
  resource::SaveState own{own_context, first.pid, state_->together};
  for (std::size_t i = 0; i < state.sent.held.size(); ++i) {
    resource::OpenDescription held = resource::inspect_descriptor(own_context.pid, state.sent.held[i].get());
    state_->saved.push_back(resource::save_one(own, held));
  }
  first.descriptions = std::move(state_->saved);
  resource::save_session_terminal(state, first);
  resource::save_bytes_under_way(state, first);
  if (context.silenced != nullptr) *context.silenced = resource::silence_connections(state, first);
}

void save_descriptors(SaveContext& context, image::ProcessT& process) {
  DescriptorCapture capture(std::span(&context.pid, 1), [](std::size_t, const auto& work) { work(0); });
  capture.save(context, process);
  capture.finish(context, process);
}

int first_free_descriptor(const image::ProcessT& process) {
  int first = 3;
  for (const auto& descriptor : process.descriptors) first = std::max(first, descriptor->number + 1);
  return first;
}

}  // namespace ckpt::engine
