#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/descriptors.h"
#include "engine/resource/resource_kinds.h"
#include "engine/resource/unsupported.h"

namespace ckpt::engine {
namespace resource {
namespace {

// The id that a process or thread has in its innermost namespace; 0 if it is gone.
pid_t innermost_id(pid_t id) try {
  std::string status = read_file(fmt::format("/proc/{}/status", id));
  std::string_view ids = status_field(status, "NSpid");
  auto last = parse_unsigned(ids.substr(ids.find_last_of(" \t") + 1));
  return static_cast<pid_t>(last.value_or(static_cast<std::uint64_t>(id)));
} catch (const Error& error) {
  if (error.code() == ENOENT || error.code() == ESRCH) return 0;
  throw;
}

bool is_own_thread(pid_t pid, pid_t tid) {
  return ::access(fmt::format("/proc/{}/task/{}", pid, tid).c_str(), F_OK) == 0;
}

// Who gets SIGIO or SIGURG. Only the program itself, or its process group, comes back under an id that we
// know.
void save_owner(SaveState& state, const OpenDescription& description, int fd, image::DescriptionT& saved) {
  f_owner_ex owner{};
  if (::fcntl(fd, F_GETOWN_EX, &owner) != 0)
    throw_errno(fmt::format("read the owner of {}", description.what()));
  int signal = ::fcntl(fd, F_GETSIG);
  if (signal < 0) throw_errno(fmt::format("read the signal of {}", description.what()));
  saved.owner_signal = signal;
  if (owner.pid == 0) return;
  pid_t pid = state.context.pid;
  bool own = owner.type == F_OWNER_PGRP ? owner.pid == ::getpgid(pid) : is_own_thread(pid, owner.pid);
  if (!own) {
    state.context.notes.push_back(
        fmt::format("{} sends signals to process {}, which is not part of the checkpoint", description.what(),
                    owner.pid));
    return;
  }
  saved.owner = innermost_id(owner.pid);
  saved.owner_type = owner.type;
}

// fdinfo has a line for each lock held through this description or process.
void look_at_locks(SaveState& state, const OpenDescription& description) {
  if (description.info.find("\nlock:") == std::string::npos) return;
  if (description.info.find("LEASE") != std::string::npos) {
    throw Error(
        fmt::format("{} holds a lease on its file, which cannot be saved; give it up before the checkpoint",
                    description.what()));
  }
  state.context.notes.push_back(
      fmt::format("{} holds a file lock, which is not taken again at recover", description.what()));
}

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
  look_at_locks(state, description);
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

}  // namespace
}  // namespace resource

void save_descriptors(SaveContext& context, image::ProcessT& process) {
  UniqueFd pidfd = resource::open_process(context.pid);
  std::vector<resource::OpenDescription> all = resource::list_descriptions(context.pid);
  resource::SaveState state{context, pidfd.get(), process.pid, all};
  process.descriptions.clear();
  process.descriptors.clear();
  for (std::size_t i = 0; i < all.size(); ++i) {
    process.descriptions.push_back(resource::save_one(state, all[i]));
    for (const auto& number : all[i].numbers) process.descriptors.push_back(resource::save_number(number, i));
  }
  std::ranges::sort(process.descriptors, {}, &image::DescriptorT::number);
}

int first_free_descriptor(const image::ProcessT& process) {
  int first = 3;
  for (const auto& descriptor : process.descriptors) first = std::max(first, descriptor->number + 1);
  return first;
}

}  // namespace ckpt::engine
