#include "engine/resource/socket/in_flight.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/resource/resource_kinds.h"

namespace ckpt::engine::resource {

std::int32_t index_of_sent(SaveState& state, UniqueFd fd) {
  SentDescriptors& sent = state.sent;
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_errno("look at a descriptor that was sent");
  for (std::size_t i = 0; i < sent.all.size(); ++i) {
    const OpenDescription& known = sent.all[i];
    bool same_file = known.status.st_dev == status.st_dev && known.status.st_ino == status.st_ino;
    if (same_file && same_description(known.holder(), known.number(), fd.get()))
      return static_cast<std::int32_t>(i);
  }
  for (std::size_t i = 0; i < sent.held.size(); ++i) {
    if (same_description(::getpid(), sent.held[i].get(), fd.get()))
      return static_cast<std::int32_t>(sent.all.size() + i);
  }
  sent.held.push_back(std::move(fd));
  return static_cast<std::int32_t>(sent.all.size() + sent.held.size() - 1);
}

}  // namespace ckpt::engine::resource
