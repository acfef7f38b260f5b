#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>

#include "base/error.h"
#include "launcher/human_units.h"
#include "launcher/image_summary.h"
#include "launcher/json_text.h"
#include "launcher/recover_selection.h"
#include "launcher/store_commands.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;
using store::VerifyReport;
using store::Version;

VerifyReport verify(const store::Application& application, std::optional<Version> version) {
  VerifyReport report = application.verify(version ? std::vector{*version} : std::vector<Version>());
  // The process image is intact; it must make sense, too.
  std::erase_if(report.sound, [&](Version sound) {
    try {
      auto reader = application.open(sound);
      if (!is_heap(reader->description())) verified_image(reader->image());
      return false;
    } catch (const Error& error) {
      bool was_removed = error.code() == ENOENT;  // in the meantime, by somebody else
      if (!was_removed) report.damaged.push_back({.version = sound, .cause = error.what()});
      return true;
    }
  });
  return report;
}

ordered_json to_json(const std::string& name, const VerifyReport& report, bool repaired) {
  ordered_json damaged = ordered_json::array();
  for (const VerifyReport::Damage& damage : report.damaged)
    damaged.push_back({{"version", damage.version}, {"cause", damage.cause}});
  return {{"name", name},          {"sound", report.sound},
          {"damaged", damaged},    {"leftovers", report.leftovers},
          {"pages", report.pages}, {"repaired", repaired}};
}

std::string to_text(const std::string& name, const VerifyReport& report, bool repaired) {
  std::string text =
      fmt::format("{}: {} verified, sound: {}\n", name, human_bytes(report.pages * store::kPageBytes),
                  report.sound.empty() ? "none" : fmt::format("{}", fmt::join(report.sound, " ")));
  for (const VerifyReport::Damage& damage : report.damaged)
    text += fmt::format("{}@{}{}: {}\n", name, damage.version, repaired ? " removed" : "", damage.cause);
  for (const std::string& file : report.leftovers)
    text += fmt::format("{}: {} {}\n", name, file, repaired ? "removed" : "is not needed");
  return text;
}

}  // namespace

void verify_command(store::Store& store, const std::optional<Target>& target, bool repair, bool json,
                    const std::function<void(const std::string&)>& print) {
  std::vector<std::string> names = target ? std::vector{target->name} : store.applications();
  ordered_json all = ordered_json::array();
  std::size_t damaged = 0;
  for (const std::string& name : names) {
    std::unique_ptr<store::Application> application = store.application(name);
    std::optional<Version> version = target ? target->version : std::nullopt;
    if (version) select_version(load_candidate(*application), version);
    VerifyReport report = verify(*application, version);
    if (repair) {
      for (const VerifyReport::Damage& damage : report.damaged) remove_version(store, name, damage.version);
      application->remove_leftovers();
    } else {
      damaged += report.damaged.size();
    }
    if (json) {
      all.push_back(to_json(name, report, repair));
    } else {
      print(to_text(name, report, repair));
    }
  }
  if (json) print(json_output(all));
  if (damaged > 0)
    throw Error(fmt::format("{} damaged; recover a sound one, ckpt verify --repair removes them",
                            damaged == 1 ? "a version is" : fmt::format("{} versions are", damaged)));
}

}  // namespace ckpt::launcher
