#include "launcher/kept_versions.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "base/error.h"
#include "vmheap/tools.h"

namespace ckpt::launcher {
namespace {

// Of all versions; none if there is no application any more.
std::set<store::KeptVersion> kept_versions(const store::Application& application) try {
  std::set<store::KeptVersion> all;
  for (const store::VersionEntry& entry : application.versions())
    all.insert(entry.description.kept.begin(), entry.description.kept.end());
  return all;
} catch (const Error&) {
  return {};
}

using Heap = std::pair<std::string, std::string>;  // directory of the store, name

Heap heap_of(const store::KeptVersion& kept) {
  return {std::filesystem::path(kept.directory).parent_path(), kept.name};
}

void retain(const Heap& heap, const std::string& application, const std::set<std::uint64_t>& needed) try {
  vmheap::retain_checkpoint_versions(heap.first, heap.second, application, needed);
} catch (const Error&) {
  // The heap has been removed itself, or is on a disk that is not here now.
}

}  // namespace

bool remove_with_kept(const store::Application& application, const std::function<void()>& removal) {
  std::string directory = application.path();
  std::set<store::KeptVersion> before = kept_versions(application);
  removal();
  if (before.empty()) return false;
  std::map<Heap, std::set<std::uint64_t>> needed;
  for (const store::KeptVersion& kept : before) needed[heap_of(kept)] = {};
  for (const store::KeptVersion& kept : kept_versions(application))
    needed[heap_of(kept)].insert(kept.version);
  for (const auto& [heap, versions] : needed) retain(heap, directory, versions);
  return true;
}

}  // namespace ckpt::launcher
