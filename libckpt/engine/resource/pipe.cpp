// Pipes without a name. Both ends must be inside the program (or nowhere any more): what is at the other end
// of a pipe that leads outside cannot be restored.
#include "engine/resource/pipe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/resource/pipe_content.h"
#include "engine/resource/reopen.h"

namespace ckpt::engine::resource {
namespace {

// O_LARGEFILE as the kernel shows it; the header's is 0 on 64-bit machines. open(2) sets it, pipe(2) does
// not.
constexpr unsigned kLargeFile = 0100000;

bool matches(const SaveState&, const OpenDescription& description) {
  return S_ISFIFO(description.status.st_mode);
}

bool is_same_pipe(const OpenDescription& left, const OpenDescription& right) {
  return left.status.st_dev == right.status.st_dev && left.status.st_ino == right.status.st_ino;
}

struct EndsInside {
  const OpenDescription* reader = nullptr;
  const OpenDescription* writer = nullptr;
  bool packet_mode = false;
};

EndsInside find_ends(const SaveState& state, const OpenDescription& description) {
  EndsInside ends;
  for (const OpenDescription& other : state.all) {
    if (!is_same_pipe(other, description)) continue;
    int mode = other.access_mode();
    if (mode == O_RDONLY || mode == O_RDWR) ends.reader = &other;
    if (mode == O_WRONLY || mode == O_RDWR) ends.writer = &other;
    if ((mode == O_WRONLY || mode == O_RDWR) && (other.flags & O_DIRECT) != 0) ends.packet_mode = true;
  }
  return ends;
}

// A read end without any writer reports POLLHUP, a write end without any reader POLLERR (pipe(7), poll(2)).
bool other_end_is_gone(int fd) { return (poll_now(fd, 0) & (POLLHUP | POLLERR)) != 0; }

void refuse_if_outside(const OpenDescription& description, const EndsInside& ends) {
  if (ends.reader != nullptr && ends.writer != nullptr) return;
  UniqueFd copy = copy_descriptor(description);
  if (description.access_mode() >= 0 && other_end_is_gone(copy.get())) return;
  throw Error(
      fmt::format("descriptor {} is the {} end of a pipe whose other end is outside the program ({}); close "
                  "it before the "
                  "checkpoint, or pass it as standard input, output or error",
                  description.number(), ends.reader != nullptr ? "read" : "write", description.link));
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  EndsInside ends = find_ends(state, description);
  refuse_if_outside(description, ends);
  image::PipeDetailT detail;
  detail.inode = description.status.st_ino;
  bool first =
      state.together.pipes_saved.insert({description.status.st_dev, description.status.st_ino}).second;
  if (first && ends.reader != nullptr) {
    UniqueFd copy = copy_descriptor(*ends.reader);
    PipeContent content = peek_pipe(copy.get(), ends.packet_mode, description.what());
    detail.content = std::move(content.bytes);
    detail.packets = std::move(content.packets);
  }
  detail.capacity = pipe_capacity(copy_descriptor(description).get());
  return as_detail(std::move(detail));
}

PipeContent content_of(const image::PipeDetailT& detail) {
  return {.capacity = detail.capacity, .bytes = detail.content, .packets = detail.packets};
}

std::string check(CheckState& state, const image::DescriptionT& description) {
  return pipe_problem(content_of(*description.detail.AsPipeDetail()), state.notes);
}

OwnPipe make_pipe(const RestoreState& state, const image::PipeDetailT& detail) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("make a pipe");
  OwnPipe pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
  set_pipe_capacity(pipe.write_end.get(), detail.capacity);
  fill_pipe(pipe.write_end.get(), content_of(detail), fmt::format("pipe:[{}]", detail.inode));
  return {state.lift(std::move(pipe.read_end)), state.lift(std::move(pipe.write_end))};
}

UniqueFd take_end(const UniqueFd& end, bool& taken) {
  UniqueFd fd = duplicate(end.get(), "the end of a pipe");
  taken = true;
  return fd;
}

// The ends that pipe(2) returned are handed out first, so that a program that only called pipe(2) gets
// exactly those; further descriptions were opened through /proc and are again.
UniqueFd restore(RestoreState& state, const image::DescriptionT& description) {
  const image::PipeDetailT& detail = *description.detail.AsPipeDetail();
  auto found = state.pipes.find(detail.inode);
  if (found == state.pipes.end()) found = state.pipes.emplace(detail.inode, make_pipe(state, detail)).first;
  OwnPipe& pipe = found->second;
  int mode = static_cast<int>(description.status_flags) & O_ACCMODE;
  bool by_pipe_call = (description.status_flags & kLargeFile) == 0;
  if (by_pipe_call && mode == O_RDONLY && !pipe.read_taken) return take_end(pipe.read_end, pipe.read_taken);
  if (by_pipe_call && mode == O_WRONLY && !pipe.write_taken)
    return take_end(pipe.write_end, pipe.write_taken);
  return reopen_own(mode == O_WRONLY ? pipe.write_end.get() : pipe.read_end.get(), description, O_NONBLOCK);
}

}  // namespace

const ResourceKind kPipe{
    "pipe", image::DescriptionDetail::PipeDetail, kAllSettableFlags, matches, save, check, restore};

}  // namespace ckpt::engine::resource
