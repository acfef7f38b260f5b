#include "launcher/wake_file.h"

#include <fmt/format.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include "agent/agent_table.h"
#include "base/error.h"

namespace ckpt::launcher {

WakeFile::WakeFile(int directory) : directory_(directory), watch_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
  if (!watch_) throw_errno("watch for calls of the program (inotify_init1)");
  if (::unlinkat(directory, agent::kWakeFile, 0) != 0 && errno != ENOENT)
    throw_errno("remove the application's file 'wake' of an earlier run; the store must be writable");
  if (::symlinkat(std::to_string(::getpid()).c_str(), directory, agent::kWakeFile) != 0)
    throw_errno("make the application's link 'wake'; the store must be writable");
  std::string path = fmt::format("/proc/self/fd/{}/{}", directory, agent::kWakeFile);
  if (::inotify_add_watch(watch_.get(), path.c_str(), IN_ATTRIB | IN_DONT_FOLLOW) < 0)
    throw_errno("watch the application's link 'wake' (inotify_add_watch)");
}

WakeFile::~WakeFile() { ::unlinkat(directory_, agent::kWakeFile, 0); }

bool WakeFile::called() {
  alignas(inotify_event) std::array<char, 4096> events{};
  bool called = false;
  while (::read(watch_.get(), events.data(), events.size()) > 0) called = true;
  return called;
}

}  // namespace ckpt::launcher
