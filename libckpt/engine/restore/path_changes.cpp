#include "engine/restore/path_changes.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>
#include <set>
#include <string_view>

#include "base/error.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kPathOffset = offsetof(sockaddr_un, sun_path);

bool lies_within(std::string_view path, std::string_view directory) {
  if (!path.starts_with(directory)) return false;
  return path.size() == directory.size() || path[directory.size()] == '/' || directory == "/";
}

const PathChange* change_for(std::string_view path, std::span<const PathChange> changes) {
  const PathChange* best = nullptr;
  for (const PathChange& change : changes) {
    bool better = best == nullptr || change.from.size() > best->from.size();
    if (better && lies_within(path, change.from)) best = &change;
  }
  return best;
}

std::string moved(const PathChange& change, const std::string& path) {
  std::string rest = change.from == "/" ? path : path.substr(change.from.size());
  if (change.to == "/") return rest.empty() ? "/" : rest;
  return rest == "/" ? change.to : change.to + rest;
}

class Changer {
 public:
  explicit Changer(std::span<const PathChange> changes) : changes_(changes) {}

  void path(std::string& text) {
    const PathChange* change = change_for(text, changes_);
    if (change == nullptr) return;
    text = moved(*change, text);
    used_.insert(change);
  }

  // struct sockaddr_un; names in the abstract namespace begin with a zero byte and are no paths.
  void address(std::vector<std::uint8_t>& bytes) {
    if (bytes.size() <= kPathOffset || bytes[kPathOffset] != '/') return;
    std::string before(bytes.begin() + kPathOffset, bytes.end());
    before.resize(std::strlen(before.c_str()));
    std::string after = before;
    path(after);
    if (after == before) return;
    if (after.size() >= sizeof(sockaddr_un::sun_path)) {
      throw Error(
          fmt::format("{} is longer than the path of a socket may be ({} bytes); choose a shorter one", after,
                      sizeof(sockaddr_un::sun_path) - 1));
    }
    bytes.resize(kPathOffset);
    bytes.insert(bytes.end(), after.begin(), after.end());
    bytes.push_back(0);
  }

  std::vector<std::string> unused() const {
    std::vector<std::string> lines;
    for (const PathChange& change : changes_) {
      if (used_.contains(&change)) continue;
      lines.push_back(fmt::format("--path {}={}: no path of the checkpoint begins with {}", change.from,
                                  change.to, change.from));
    }
    return lines;
  }

 private:
  std::span<const PathChange> changes_;
  std::set<const PathChange*> used_;
};

void change_unix_socket(image::UnixSocketDetailT& socket, Changer& changer) {
  changer.address(socket.name);
  changer.address(socket.peer_name);
  changer.path(socket.file_path);
  for (auto& message : socket.messages) changer.address(message->source);
}

// Files of the kernel (/proc, /sys) are the same everywhere.
void change_description(image::DescriptionDetailUnion& detail, Changer& changer) {
  if (auto* file = detail.AsRegularFileDetail()) return changer.path(file->path);
  if (auto* directory = detail.AsDirectoryDetail()) return changer.path(directory->path);
  if (auto* device = detail.AsDeviceDetail()) return changer.path(device->path);
  if (auto* terminal = detail.AsTerminalDetail()) return changer.path(terminal->path);
  if (auto* fifo = detail.AsFifoDetail()) return changer.path(fifo->path);
  if (auto* socket = detail.AsUnixSocketDetail()) return change_unix_socket(*socket, changer);
  if (auto* inotify = detail.AsInotifyDetail()) {
    for (auto& watch : inotify->watches) changer.path(watch->path);
  }
}

void change_process(image::ProcessT& process, Changer& changer) {
  changer.path(process.executable);
  changer.path(process.working_directory);
  if (process.executable_file) changer.path(process.executable_file->path);
  for (auto& file : process.mapped_files) changer.path(file->path);
  for (auto& mapping : process.mappings) changer.path(mapping->name);
  for (auto& file : process.written_files) changer.path(file->path);
  for (auto& file : process.embedded_files) changer.path(file->path);
  for (auto& description : process.descriptions) change_description(description->detail, changer);
}

}  // namespace

std::string changed_path(const std::string& path, std::span<const PathChange> changes) {
  const PathChange* change = change_for(path, changes);
  return change == nullptr ? path : moved(*change, path);
}

std::vector<std::string> change_paths(image::CheckpointT& checkpoint, std::span<const PathChange> changes) {
  Changer changer(changes);
  change_process(*checkpoint.process, changer);
  for (auto& relative : checkpoint.relatives) change_process(*relative, changer);
  return changer.unused();
}

}  // namespace ckpt::engine
