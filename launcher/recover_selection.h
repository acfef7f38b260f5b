// Which version a recover resumes, and the reasons to refuse.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/naming.h"
#include "launcher/run_state.h"
#include "store/checkpoint_store.h"

namespace ckpt::launcher {

// What is known about one application that might be recovered.
struct Candidate {
  std::string name;
  std::vector<store::VersionEntry> versions;  // ascending, undamaged
  std::vector<store::Version> segments;       // versions present on disk, damaged ones included, ascending
  std::optional<EndRecord> ended;
};

// "v0000000007.ckpt" -> 7
std::optional<store::Version> version_of_segment_file(std::string_view file_name);

Candidate load_candidate(const store::Application& application);

// The application whose newest version was taken last; throws Error if there is none.
std::string checkpointed_last(const std::vector<Candidate>& candidates);

// The version to open: the one asked for, else the newest on disk, damaged or not: a damaged one is then
// refused by the store with its cause, instead of going silently further back. Throws Error without any
// version, for an unknown one, and, unless a version was asked for, for a finished application.
store::Version select_version(const Candidate& candidate, std::optional<store::Version> wanted);

// The version to look at, without resuming it: the one asked for, else the newest, also of an application
// that has finished. Throws Error likewise.
store::Version version_to_look_at(const Candidate& candidate, std::optional<store::Version> wanted);

// Whether plain recover would have something to do.
bool resumable(const Candidate& candidate);

}  // namespace ckpt::launcher
