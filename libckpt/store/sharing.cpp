#include "store/sharing.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>
#include <optional>
#include <string>
#include <vector>

#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {
namespace {

class Links {
 public:
  Links(const ApplicationFiles& from, const ApplicationFiles& to) : from_(from), to_(to) {}
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;
  ~Links() {
    for (const std::string& name : made_) system_calls().unlinkat(to_.directory(), name.c_str(), 0);
  }

  // The segment of `version`, visible or dead.
  bool add(Version version, const std::string& new_name) {
    // In this order: what is removed meanwhile is renamed from visible to dead, never back.
    for (const std::string& name : {visible_name(version), dead_name(version)}) {
      if (system_calls().linkat(from_.directory(), name.c_str(), to_.directory(), new_name.c_str(), 0) == 0) {
        made_.push_back(new_name);
        return true;
      }
      if (errno != ENOENT) return false;
    }
    throw damaged(from_.path_of(visible_name(version)), "it is missing");
  }

  void keep() { made_.clear(); }

 private:
  const ApplicationFiles& from_;
  const ApplicationFiles& to_;
  std::vector<std::string> made_;
};

}  // namespace

// The version itself comes last, when all that it needs is there for good.
bool share_version(const ApplicationFiles& from, Version version, const ApplicationFiles& to) {
  auto writer = to.lock(ApplicationFiles::Lock::kWriter);
  if (!writer) return false;
  auto keeps_ours = to.lock(ApplicationFiles::Lock::kKeepDead);
  auto keeps_theirs = from.lock(ApplicationFiles::Lock::kKeepDead);
  OpenVersion open = from.open_version(version);
  if (!to.list().visible.empty() || !to.list().dead.empty()) return false;
  Links links(from, to);
  for (const SegmentUse& use : open.manifest.segments) {
    if (use.segment != version && !links.add(use.segment, dead_name(use.segment))) return false;
  }
  to.sync();
  if (!links.add(version, visible_name(version))) return false;
  to.sync();
  links.keep();
  return true;
}

}  // namespace ckpt::store
