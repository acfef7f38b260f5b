#include "launcher/version_commands.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/error.h"
#include "launcher/human_units.h"
#include "launcher/json_text.h"
#include "launcher/recover_selection.h"
#include "launcher/version_diff.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;

const char* word_for(MappingFate fate) {
  switch (fate) {
    case MappingFate::kKept:
      return "changed";
    case MappingFate::kAdded:
      return "added";
    case MappingFate::kRemoved:
      return "removed";
  }
  return "";
}

std::string diff_text(const Target& from, const Target& to, const VersionDifference& found) {
  std::string text =
      fmt::format("{} -> {}: {} page{} differ{}\n", to_string(from), to_string(to), found.changed_pages,
                  found.changed_pages == 1 ? "" : "s", found.changed_pages == 1 ? "s" : "");
  for (const MappingDifference& mapping : found.mappings) {
    text += fmt::format("  {:<8} {:012x}-{:012x} {:>10} {:>8} pages  {}\n", word_for(mapping.fate),
                        mapping.start, mapping.end, human_bytes(mapping.end - mapping.start),
                        mapping.changed_pages, mapping.name);
  }
  return text;
}

ordered_json diff_json(const Target& from, const Target& to, const VersionDifference& found) {
  ordered_json mappings = ordered_json::array();
  for (const MappingDifference& mapping : found.mappings) {
    mappings.push_back({{"change", word_for(mapping.fate)},
                        {"start", mapping.start},
                        {"end", mapping.end},
                        {"name", mapping.name},
                        {"changed_pages", mapping.changed_pages}});
  }
  return {{"from", to_string(from)},
          {"to", to_string(to)},
          {"changed_pages", found.changed_pages},
          {"mappings", mappings}};
}

std::unique_ptr<store::CheckpointReader> open_target(const store::Store& store, Target& target) {
  std::unique_ptr<store::Application> application = store.application(target.name);
  target.version = version_to_look_at(load_candidate(*application), target.version);
  return application->open(*target.version);
}

}  // namespace

std::string tag_command(const store::Store& store, const Target& target, const std::string& label,
                        bool json) {
  std::unique_ptr<store::Application> application = store.application(target.name);
  if (!target.version) {
    throw Error(fmt::format("'{}' names no version; give one: {}@NUMBER (ckpt show {} lists them)",
                            target.name, target.name, target.name));
  }
  application->tag(*target.version, label);
  return json ? json_output({{"name", target.name}, {"version", *target.version}, {"tag", label}}) : "";
}

std::string untag_command(const store::Store& store, const std::string& name, const std::string& label,
                          bool json) {
  store.application(name)->untag(label);
  return json ? json_output({{"name", name}, {"untagged", label}}) : "";
}

std::string diff_command(const store::Store& store, const Target& from, const Target& to, bool json) {
  Target older = from;
  Target newer = to;
  std::unique_ptr<store::CheckpointReader> before = open_target(store, older);
  std::unique_ptr<store::CheckpointReader> after = open_target(store, newer);
  VersionDifference found = difference(*before, *after);
  return json ? json_output(diff_json(older, newer, found)) : diff_text(older, newer, found);
}

std::string gc_command(const store::Store& store, const std::optional<std::string>& name, bool json) {
  std::vector<std::string> names = name ? std::vector{*name} : store.applications();
  ordered_json all = ordered_json::array();
  std::string text;
  for (const std::string& each : names) {
    std::unique_ptr<store::Application> application = store.application(each);
    application->remove_leftovers();
    store::Reclaimed reclaimed = application->reclaim();
    all.push_back({{"name", each},
                   {"segments", reclaimed.segments},
                   {"bytes_freed", reclaimed.bytes_freed},
                   {"bytes_written", reclaimed.bytes_written}});
    text += fmt::format("{}: {} freed in {} segment{}, {} written\n", each,
                        human_bytes(reclaimed.bytes_freed), reclaimed.segments,
                        reclaimed.segments == 1 ? "" : "s", human_bytes(reclaimed.bytes_written));
  }
  return json ? json_output(all) : text;
}

}  // namespace ckpt::launcher
