#include "launcher/store_commands.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "engine/inspect/core_file.h"
#include "launcher/application_status.h"
#include "launcher/claimed_application.h"
#include "launcher/control_client.h"
#include "launcher/human_units.h"
#include "launcher/image_summary.h"
#include "launcher/json_text.h"
#include "launcher/kept_versions.h"
#include "launcher/listing.h"
#include "launcher/recover_selection.h"
#include "launcher/stacks_view.h"
#include "launcher/text_table.h"
#include "store/inventory.h"
#include "vmheap/tools.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;

constexpr std::chrono::seconds kLongestSilence{10};  // of a ckptrun that is there
constexpr std::chrono::milliseconds kLookEvery{10};

std::string show_text(const ApplicationSummary& summary, const store::VersionDescription* shown,
                      const ordered_json& image) {
  std::string out =
      fmt::format("application  {}, {}\ncommand      {}\ndirectory    {}\n\n", summary.name,
                  describe(summary.status), quoted_command(summary.command), summary.working_directory);
  out += versions_table(summary, realtime_now_ns());
  for (const std::string& line : summary.damaged) out += fmt::format("damaged: {}\n", line);
  if (shown == nullptr) return out;
  out += fmt::format("\nversion      {}@{}\n{}", summary.name, shown->version, image_text(image));
  for (const store::KeptVersion& kept : shown->kept)
    out += fmt::format("heap         {}, version {}\n", kept.directory, kept.version);
  for (const std::string& note : shown->notes) out += fmt::format("note         {}\n", note);
  return out;
}

// The version that another one builds on may have been removed since.
std::unique_ptr<store::CheckpointReader> open_if_there(const store::Application& application,
                                                       store::Version version) try {
  return version == 0 ? nullptr : application.open(version);
} catch (const Error&) {
  return nullptr;
}

[[noreturn]] void refuse_unsupervised(const std::string& name, const ApplicationStatus& status) {
  if (status.supervisor != 0) {
    throw Error(fmt::format(
        "ckptrun of application {} (pid {}) does not answer: it has not begun yet, or is ending; try again",
        name, status.supervisor));
  }
  if (status.program == 0) {
    throw Error(fmt::format("application {} is not running ({}); resume it first: ckptrun --recover {}", name,
                            describe(status), name));
  }
  throw Error(
      fmt::format("application {} runs as pid {} without its ckptrun, which was killed; end the program and "
                  "resume it: kill {}; ckptrun --recover {}",
                  name, status.program, status.program, name));
}

// A supervisor that is stopped by job control would answer only after it is continued.
void refuse_stopped(const std::string& name, const ApplicationStatus& status) {
  if (status.supervisor == 0) return;
  std::optional<ProcessIdentity> supervisor = identify_process(status.supervisor);
  if (!supervisor || liveness(*supervisor) != Liveness::kStopped) return;
  throw Error(fmt::format("application {} is stopped by job control; continue it first: fg, or kill -CONT {}",
                          name, status.supervisor));
}

// A ckptrun that has just been started, or builds the program anew, does not listen yet; one that is ending
// does not any more.
nlohmann::json ask(const store::Application& application, const ControlRequest& request) {
  auto last = std::chrono::steady_clock::now() + kLongestSilence;
  for (;;) {
    ApplicationStatus status = application_status(application.directory());
    refuse_stopped(application.name(), status);
    std::optional<nlohmann::json> reply = ask_supervisor(application.directory(), request);
    if (reply) return *reply;
    if (status.supervisor == 0 || std::chrono::steady_clock::now() > last)
      refuse_unsupervised(application.name(), application_status(application.directory()));
    std::this_thread::sleep_for(kLookEvery);
  }
}

std::string checkpoint_and(ControlCommand command, const store::Store& store, const std::string& name,
                           bool json) {
  nlohmann::json reply = ask(*store.application(name), {.command = command, .version = 0});
  if (!json) return fmt::format("{}@{}\n", name, reply.value("version", store::Version{0}));
  return json_output({{"name", name},
                      {"version", reply.value("version", store::Version{0})},
                      {"frozen_time_us", reply.value("frozen_time_us", std::uint64_t{0})},
                      {"bytes_written", reply.value("bytes_written", std::uint64_t{0})}});
}

}  // namespace

void remove_version(const store::Store& store, const std::string& name, store::Version version) {
  std::unique_ptr<store::Application> application = store.application(name);
  std::optional<RunLock> lock = RunLock::try_acquire(application->directory());
  if (lock) {
    remove_with_kept(*application, [&] { application->remove(version); });
    return;
  }
  ask(*application, {.command = ControlCommand::kRemove, .version = version});
}

std::string list_command(const store::Store& store, const std::optional<std::string>& name, bool json) {
  if (name) {
    ApplicationSummary summary = summarize(*store.application(*name));
    return json ? json_output({{"name", summary.name}, {"versions", versions_json(summary)}})
                : versions_table(summary, realtime_now_ns());
  }
  std::vector<ApplicationSummary> all;
  for (const std::string& each : store.applications()) all.push_back(summarize(*store.application(each)));
  return json ? json_output(list_json(all)) : list_table(all, realtime_now_ns());
}

std::string show_command(const store::Store& store, const Target& target, bool stacks, bool json) {
  std::unique_ptr<store::Application> application = store.application(target.name);
  ApplicationSummary summary = summarize(*application);
  ordered_json image = nullptr;
  std::unique_ptr<store::CheckpointReader> reader;
  if (target.version || !summary.versions.empty()) {
    store::Version version = target.version ? select_version(load_candidate(*application), target.version)
                                            : summary.versions.back().description.version;
    reader = application->open(version);
    image = image_json(*reader, open_if_there(*application, reader->description().parent).get());
  }
  const store::VersionDescription* shown = reader ? &reader->description() : nullptr;
  std::vector<LeaseChange> leases = LeaseLog(application->directory()).changes();
  std::vector<engine::ThreadStack> threads;
  if (stacks && reader) threads = engine::read_stacks(*reader);
  if (!json) return show_text(summary, shown, image) + leases_text(leases) + stacks_text(threads);
  ordered_json out = application_json(summary);
  out.erase("latest");
  out["versions"] = versions_json(summary);
  out["shown_version"] = shown != nullptr ? ordered_json(shown->version) : ordered_json(nullptr);
  out["kept"] = ordered_json::array();
  for (const store::KeptVersion& kept : shown != nullptr ? shown->kept : std::vector<store::KeptVersion>())
    out["kept"].push_back({{"directory", kept.directory}, {"name", kept.name}, {"version", kept.version}});
  out["image"] = image;
  out["leases"] = leases_json(leases);
  if (stacks) out["stacks"] = stacks_json(threads);
  return json_output(out);
}

std::string stats_command(const store::Store& store, const std::string& name, bool json) {
  std::unique_ptr<store::Application> application = store.application(name);
  ApplicationSummary summary = summarize(*application);
  store::Inventory content = store::take_inventory(*application);
  if (json) {
    ordered_json out = stats_json(summary);
    out["content_bytes"] = content.content_bytes();
    out["stored_bytes"] = content.stored_bytes;
    out["saved_bytes"] = content.saved_bytes();
    return json_output(out);
  }
  if (summary.versions.empty())
    throw Error(
        fmt::format("application {} has no checkpoint to report on; take one with "
                    "'ckpt checkpoint {}' or run it with --every",
                    name, name));
  return stats_table(summary) +
         fmt::format("\nAll versions together hold {}, stored in {}; storing equal pages once saved {}.\n",
                     human_bytes(content.content_bytes()), human_bytes(content.stored_bytes),
                     human_bytes(content.saved_bytes()));
}

std::string core_command(const store::Store& store, const Target& target, const std::string& output,
                         bool json) {
  std::unique_ptr<store::Application> application = store.application(target.name);
  store::Version version = version_to_look_at(load_candidate(*application), target.version);
  std::unique_ptr<store::CheckpointReader> reader = application->open(version);
  std::string path = output.empty() ? fmt::format("core.{}.{}", target.name, version) : output;
  engine::CoreFile core = engine::write_core_file(*reader, path);
  if (json)
    return json_output({{"file", path},
                        {"version", version},
                        {"threads", core.threads},
                        {"bytes_written", core.bytes_written}});
  return fmt::format("{}: {}@{}, {} thread{}, {}\n", path, target.name, version, core.threads,
                     core.threads == 1 ? "" : "s", human_bytes(core.bytes_written));
}

std::string checkpoint_command(const store::Store& store, const std::string& name, bool json) {
  return checkpoint_and(ControlCommand::kCheckpoint, store, name, json);
}

std::string suspend_command(const store::Store& store, const std::string& name, bool json) {
  return checkpoint_and(ControlCommand::kSuspend, store, name, json);
}

std::string remove_command(store::Store& store, const Target& target, bool json) {
  std::unique_ptr<store::Application> application = store.application(target.name);
  if (target.version) {
    select_version(load_candidate(*application), *target.version);
    remove_version(store, target.name, *target.version);
  } else {
    std::vector<store::VersionEntry> versions = application->versions();
    if (!versions.empty() && is_heap(versions.back().description)) {
      vmheap::remove_heap(std::filesystem::path(application->path()).parent_path(), target.name);
    } else {
      ClaimedApplication claimed = claim(std::move(application));
      remove_with_kept(*store.application(target.name), [&] { store.remove_application(target.name); });
    }
  }
  return json ? json_output({{"removed", to_string(target)}}) : "";
}

}  // namespace ckpt::launcher
