#include "launcher/transfer_commands.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/parse.h"
#include "base/unique_fd.h"
#include "launcher/human_units.h"
#include "launcher/json_text.h"
#include "launcher/recover_selection.h"
#include "store/transfer.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;
using store::Version;

UniqueFd open_file(const std::string& path, int flags) {
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!fd) throw_errno(fmt::format("open {}", path));
  return fd;
}

void refuse_terminal(int fd, const char* advice) {
  if (::isatty(fd) == 1) throw Error(fmt::format("a checkpoint is not for a terminal; {}", advice));
}

void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) throw Error("the receiver has gone; its own message says why", EPIPE);
    if (written < 0) throw_errno("write the checkpoint");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

// The newest of those listed that is here and not newer than the version to be sent.
std::optional<Version> nearest(const Candidate& candidate, const std::string& list, Version version) {
  std::optional<Version> found;
  std::string_view left = list;
  while (!left.empty()) {
    std::string_view word = take_field(left, ',');
    Target target = parse_target(fmt::format("{}@{}", candidate.name, word));
    if (!target.version) throw Error(fmt::format("--have takes numbers of versions, not '{}'", word));
    for (const store::VersionEntry& entry : candidate.versions) {
      if (entry.description.version != *target.version || *target.version >= version) continue;
      if (!found || *target.version > *found) found = target.version;
    }
  }
  return found;
}

std::optional<Version> base_of(const store::Store& store, const Candidate& candidate,
                               const SendOptions& options, Version version) {
  if (!options.since.empty() && !options.have.empty())
    throw Error("--since and --have exclude each other; give one");
  if (!options.have.empty()) return nearest(candidate, options.have, version);
  if (options.since.empty()) return std::nullopt;
  Target base = resolve_label(store, parse_target(fmt::format("{}@{}", candidate.name, options.since)));
  return select_version(candidate, base.version);
}

}  // namespace

std::string send_command(const store::Store& store, const Target& target, const SendOptions& options) {
  std::unique_ptr<store::Application> application = store.application(target.name);
  Candidate candidate = load_candidate(*application);
  Version version = version_to_look_at(candidate, target.version);
  std::optional<Version> base = base_of(store, candidate, options, version);
  std::unique_ptr<store::CheckpointReader> reader = application->open(version);
  std::unique_ptr<store::CheckpointReader> base_reader = base ? application->open(*base) : nullptr;
  UniqueFd file;
  int out = STDOUT_FILENO;
  if (!options.output.empty()) {
    file = open_file(options.output, O_WRONLY | O_CREAT | O_TRUNC);
    out = file.get();
  }
  refuse_terminal(out, "give a file with -o, or a pipe: ckpt send NAME | ssh HOST ckpt receive");
  ::signal(SIGPIPE, SIG_IGN);
  store::send_version(target.name, *reader, base_reader.get(), options.offset,
                      [&](std::span<const std::byte> bytes) { write_all(out, bytes); });
  if (file && ::fsync(file.get()) != 0 && errno != EINVAL)
    throw_errno(fmt::format("sync {}", options.output));
  return "";
}

std::string receive_command(store::Store& store, const ReceiveOptions& options, bool json) {
  if (options.partial) {
    ordered_json all = ordered_json::array();
    std::string text;
    for (const store::PartialTransfer& transfer : store::partial_transfers(store)) {
      all.push_back({{"name", transfer.name},
                     {"version", transfer.version},
                     {"since", transfer.base != 0 ? ordered_json(transfer.base) : ordered_json(nullptr)},
                     {"offset", transfer.body_bytes}});
      std::string since = transfer.base != 0 ? fmt::format(" --since {}", transfer.base) : "";
      text += fmt::format("{} here; go on with: ckpt send {}@{}{} --offset {}\n",
                          human_bytes(transfer.body_bytes), transfer.name, transfer.version, since,
                          transfer.body_bytes);
    }
    return json ? json_output(all) : text;
  }
  UniqueFd file;
  int in = STDIN_FILENO;
  if (!options.input.empty()) {
    file = open_file(options.input, O_RDONLY);
    in = file.get();
  }
  refuse_terminal(in, "give a file with -i, or a pipe: ckpt send NAME | ckpt --store DIR receive");
  std::optional<std::string> name;
  if (!options.name.empty()) name = options.name;
  store::Received received = store::receive_version(store, name, [&](std::span<std::byte> out) {
    for (;;) {
      ssize_t size = ::read(in, out.data(), out.size());
      if (size >= 0) return static_cast<std::size_t>(size);
      if (errno != EINTR) throw_errno("read the checkpoint");
    }
  });
  if (json)
    return json_output({{"name", received.name},
                        {"version", received.version},
                        {"was_there", received.was_there},
                        {"bytes", received.bytes}});
  return fmt::format("{}@{}{}\n", received.name, received.version,
                     received.was_there ? " was here already" : "");
}

}  // namespace ckpt::launcher
