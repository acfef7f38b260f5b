#include "engine/process/other_namespaces.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <optional>

#include "base/error.h"

namespace ckpt::engine {
namespace {

enum class MadeByUs { kNever, kForUsers, kForAnybody };

struct Namespace {
  const char* file;
  const char* what;
  MadeByUs made;
};

constexpr std::array<Namespace, 8> kNamespaces{{{"mnt", "mount", MadeByUs::kNever},
                                                {"net", "network", MadeByUs::kNever},
                                                {"ipc", "IPC", MadeByUs::kNever},
                                                {"uts", "host name", MadeByUs::kNever},
                                                {"cgroup", "cgroup", MadeByUs::kNever},
                                                {"user", "user", MadeByUs::kForUsers},
                                                {"pid", "process id", MadeByUs::kForAnybody},
                                                {"time", "time", MadeByUs::kForAnybody}}};

bool may_be_ours(const Namespace& kind) {
  return kind.made == MadeByUs::kForAnybody || (kind.made == MadeByUs::kForUsers && ::geteuid() != 0);
}

std::optional<ino_t> namespace_of(pid_t pid, const char* file) {
  struct stat status {};
  if (::stat(fmt::format("/proc/{}/ns/{}", pid, file).c_str(), &status) != 0) return std::nullopt;
  return status.st_ino;
}

}  // namespace

void refuse_other_namespaces(pid_t pid, const FamilyRoots& roots) {
  for (const Namespace& kind : kNamespaces) {
    // What ckptrun has made is the program's own; it begins no others without a new process.
    pid_t reference = may_be_ours(kind) ? roots.program : ::getpid();
    std::optional<ino_t> theirs = namespace_of(pid, kind.file);
    std::optional<ino_t> expected = namespace_of(reference, kind.file);
    if (!theirs || !expected || *theirs == *expected) continue;
    throw Error(fmt::format(
        "process {} has another {} namespace than ckptrun (unshare, or a container), which cannot be "
        "carried over; run ckptrun inside it instead",
        pid, kind.what));
  }
}

}  // namespace ckpt::engine
