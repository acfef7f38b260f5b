#include "engine/resource/fifo.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/pipe_content.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

// One without a name any more is as good as a pipe, and saved as one.
bool matches(const SaveState&, const OpenDescription& description) {
  struct stat named {};
  return S_ISFIFO(description.status.st_mode) && description.link.starts_with('/') &&
         ::stat(description.link.c_str(), &named) == 0 && named.st_dev == description.status.st_dev &&
         named.st_ino == description.status.st_ino;
}

bool has_no_writer(const OpenDescription& reader) {
  return (poll_now(copy_descriptor(reader).get(), 0) & POLLHUP) != 0;
}

// Bytes belong to the program if it has both ends, or if whoever wrote them has gone; otherwise they are a
// matter between it and somebody who lives on.
const OpenDescription* reader_of_own_bytes(const SaveState& state, const OpenDescription& description) {
  const OpenDescription* reader = nullptr;
  bool writer = false;
  for (const OpenDescription& other : state.all) {
    if (other.status.st_dev != description.status.st_dev || other.status.st_ino != description.status.st_ino)
      continue;
    int mode = other.access_mode();
    if (mode == O_RDONLY || mode == O_RDWR) reader = &other;
    writer = writer || mode == O_WRONLY || mode == O_RDWR;
  }
  return writer || (reader != nullptr && has_no_writer(*reader)) ? reader : nullptr;
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  image::FifoDetailT detail;
  detail.path = description.link;
  detail.inode = description.status.st_ino;
  if (description.access_mode() < 0) return as_detail(std::move(detail));  // O_PATH: nothing to keep
  detail.capacity = pipe_capacity(copy_descriptor(description).get());
  const OpenDescription* reader = reader_of_own_bytes(state, description);
  bool first =
      state.together.pipes_saved.insert({description.status.st_dev, description.status.st_ino}).second;
  if (first && reader != nullptr) {
    UniqueFd copy = copy_descriptor(*reader);
    detail.content = peek_pipe(copy.get(), false, description.what()).bytes;
  }
  return as_detail(std::move(detail));
}

PipeContent content_of(const image::FifoDetailT& detail) {
  return {.capacity = detail.capacity, .bytes = detail.content, .packets = {}};
}

std::string check(CheckState& state, const image::DescriptionT& description) {
  const image::FifoDetailT& detail = *description.detail.AsFifoDetail();
  struct stat now {};
  if (::stat(detail.path.c_str(), &now) == 0 && !S_ISFIFO(now.st_mode)) {
    return fmt::format("{} is no longer a FIFO", detail.path);
  }
  std::string problem = access_problem(detail.path, description);
  if (!problem.empty() || detail.capacity == 0) return problem;
  return pipe_problem(content_of(detail), state.notes);
}

// Read-write opening never blocks and finds both ends; it stays until the program's own descriptions exist.
UniqueFd open_both_ends(RestoreState& state, const image::FifoDetailT& detail) {
  UniqueFd both(::open(detail.path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!both) throw_errno(fmt::format("open the FIFO {} again", detail.path));
  set_pipe_capacity(both.get(), detail.capacity);
  fill_pipe(both.get(), content_of(detail), detail.path);
  return state.lift(std::move(both));
}

UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::FifoDetailT& detail = *description.detail.AsFifoDetail();
  if ((description.status_flags & O_PATH) != 0) return open_again(detail.path, description);
  if (!state.fifos.contains(detail.inode)) state.fifos.emplace(detail.inode, open_both_ends(state, detail));
  return open_again(detail.path, description, O_NONBLOCK);
}

}  // namespace

const ResourceKind kFifo{
    "FIFO", image::DescriptionDetail::FifoDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
