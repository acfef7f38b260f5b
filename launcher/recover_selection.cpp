#include "launcher/recover_selection.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/parse.h"
#include "launcher/image_summary.h"

namespace ckpt::launcher {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

std::vector<store::Version> segments_on_disk(const store::Application& application) {
  int copy = ::openat(application.directory(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::unique_ptr<DIR, CloseDirectory> directory(copy >= 0 ? ::fdopendir(copy) : nullptr);
  if (directory == nullptr) throw_errno(fmt::format("list {}", application.path()));
  std::vector<store::Version> found;
  while (const dirent* entry = ::readdir(directory.get())) {
    if (auto version = version_of_segment_file(entry->d_name)) found.push_back(*version);
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace

std::optional<store::Version> version_of_segment_file(std::string_view file_name) {
  if (!file_name.starts_with('v') || !file_name.ends_with(".ckpt") || file_name.size() < 7)
    return std::nullopt;
  return parse_unsigned(file_name.substr(1, file_name.size() - 6));
}

Candidate load_candidate(const store::Application& application) {
  Candidate candidate;
  candidate.name = application.name();
  candidate.versions = application.versions();
  candidate.segments = segments_on_disk(application);
  candidate.ended = RunState(application.directory()).ended();
  return candidate;
}

std::string checkpointed_last(const std::vector<Candidate>& candidates) {
  const Candidate* last = nullptr;
  for (const Candidate& candidate : candidates) {
    if (candidate.versions.empty() || is_heap(candidate.versions.back().description)) continue;
    if (last == nullptr || candidate.versions.back().description.created_realtime_ns >
                               last->versions.back().description.created_realtime_ns) {
      last = &candidate;
    }
  }
  if (last == nullptr) {
    throw Error(
        "the store holds no checkpoint; run a program with checkpoints first: ckptrun --every 60s PROGRAM");
  }
  return last->name;
}

store::Version select_version(const Candidate& candidate, std::optional<store::Version> wanted) {
  if (candidate.versions.empty() && candidate.segments.empty()) {
    throw Error(
        fmt::format("application {} has no checkpoint; run it with --every DURATION, or take one with "
                    "'ckpt checkpoint {}' while it runs",
                    candidate.name, candidate.name));
  }
  if (wanted) {
    if (std::ranges::find(candidate.segments, *wanted) != candidate.segments.end()) return *wanted;
    throw Error(fmt::format("application {} has no version {}; 'ckpt show {}' lists its versions",
                            candidate.name, *wanted, candidate.name));
  }
  store::Version newest =
      candidate.segments.empty() ? candidate.versions.back().description.version : candidate.segments.back();
  if (candidate.ended && candidate.ended->finished()) {
    throw Error(
        fmt::format("application {} has finished ({}); to resume a version all the same, name it: {}@{}",
                    candidate.name, describe(candidate.ended->end), candidate.name, newest));
  }
  return newest;
}

store::Version version_to_look_at(const Candidate& candidate, std::optional<store::Version> wanted) {
  if (wanted || candidate.versions.empty()) return select_version(candidate, wanted);
  return candidate.versions.back().description.version;
}

bool resumable(const Candidate& candidate) {
  return !candidate.segments.empty() && !(candidate.ended && candidate.ended->finished());
}

}  // namespace ckpt::launcher
