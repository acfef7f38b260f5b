#include "launcher/version_tree.h"

#include <algorithm>
#include <map>

namespace ckpt::launcher {
namespace {

using store::Version;
using Children = std::map<Version, std::vector<std::size_t>>;

void append(const Children& children, const std::vector<store::VersionEntry>& versions, std::size_t entry,
            const std::string& indent, std::vector<TreeRow>& rows) {
  for (;;) {
    rows.push_back({.entry = entry, .indent = indent});
    auto found = children.find(versions[entry].description.version);
    if (found == children.end()) return;
    // The oldest continues the line; the others are later recoveries of this version.
    for (std::size_t i = 1; i < found->second.size(); ++i)
      append(children, versions, found->second[i], indent + "| ", rows);
    entry = found->second.front();
  }
}

}  // namespace

Version ancestor_of(const std::vector<store::VersionEntry>& versions, const store::VersionEntry& entry) {
  Version parent = entry.description.parent;
  Version ancestor = 0;
  for (const store::VersionEntry& other : versions) {
    Version version = other.description.version;
    if (version == parent) return version;
    // A run makes its versions one after the other, so that each continues all older ones of its run.
    if (version < entry.description.version && other.description.run_id == entry.description.run_id)
      ancestor = version;
  }
  return ancestor;
}

std::vector<TreeRow> version_tree(const std::vector<store::VersionEntry>& versions) {
  Children children;
  for (std::size_t i = 0; i < versions.size(); ++i) children[ancestor_of(versions, versions[i])].push_back(i);
  std::vector<TreeRow> rows;
  rows.reserve(versions.size());
  for (std::size_t root : children[0]) append(children, versions, root, "", rows);
  return rows;
}

}  // namespace ckpt::launcher
