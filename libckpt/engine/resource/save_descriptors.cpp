#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "engine/resource/async_owner.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/file_locks.h"
#include "engine/resource/pty_master.h"
#include "engine/resource/resource_kinds.h"
#include "engine/resource/session_terminal.h"
#include "engine/resource/socket/inet_socket.h"
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

std::unique_ptr<image::DescriptionT> save_one(SaveState& state, const OpenDescription& description) {
  const ResourceKind& kind = find_kind(state, description);
  auto saved = std::make_unique<image::DescriptionT>();
  saved->status_flags = static_cast<std::uint32_t>(description.flags);
  saved->offset = description.offset;
  save_locks(state, description, *saved);
  if (description.access_mode() >= 0) {
    UniqueFd copy = copy_descriptor(state.pidfd, description.number());
    save_owner(state, description, copy.get(), *saved);
  }
  saved->detail = kind.save(state, description);
  return saved;
}

std::unique_ptr<image::DescriptorT> save_number(const OpenDescription::Number& number,
                                                std::size_t description) {
  auto saved = std::make_unique<image::DescriptorT>();
  saved->number = number.number;
  saved->close_on_exec = number.close_on_exec;
  saved->description = static_cast<std::int32_t>(description);
  return saved;
}

// Those that are under way in sockets are open in this process, and saved as if it were the program. Saving a
// socket may bring forth more of them.
void save_sent(SaveState& state, image::ProcessT& process) {
  pid_t self = ::getpid();
  UniqueFd pidfd = open_process(self);
  SaveContext context{self, state.context.writer, state.context.objects, state.context.notes,
                      state.context.files_to_sync};
  SaveState own{context, pidfd.get(), state.program_pid, state.all, state.sent};
  for (std::size_t i = 0; i < state.sent.held.size(); ++i)
    process.descriptions.push_back(save_one(own, inspect_descriptor(self, state.sent.held[i].get())));
}

}  // namespace
}  // namespace resource

void save_descriptors(SaveContext& context, image::ProcessT& process) {
  UniqueFd pidfd = resource::open_process(context.pid);
  std::vector<resource::OpenDescription> all = resource::list_descriptions(context.pid);
  resource::SentDescriptors sent{context.pid, all};
  resource::SaveState state{context, pidfd.get(), process.pid, all, sent};
  process.descriptions.clear();
  process.descriptors.clear();
  for (std::size_t i = 0; i < all.size(); ++i) {
    process.descriptions.push_back(resource::save_one(state, all[i]));
    for (const auto& number : all[i].numbers) process.descriptors.push_back(resource::save_number(number, i));
  }
  resource::save_sent(state, process);
  std::ranges::sort(process.descriptors, {}, &image::DescriptorT::number);
  resource::save_controlling_pty(state, process);
  resource::save_session_terminal(state, process);
  resource::save_bytes_under_way(state, process);
}

int first_free_descriptor(const image::ProcessT& process) {
  int first = 3;
  for (const auto& descriptor : process.descriptors) first = std::max(first, descriptor->number + 1);
  return first;
}

}  // namespace ckpt::engine
