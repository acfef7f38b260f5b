#include "launcher/heap_command.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/parse.h"
#include "launcher/human_units.h"
#include "launcher/json_text.h"
#include "vmheap/tools.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  const std::string& directory;
  const std::string& argument;
  const std::string& label;
  const std::string& name;
  bool json;
};

std::string answer(const Arguments& arguments, const ordered_json& json, const std::string& text) {
  return arguments.json ? json_output(json) : text;
}

ordered_json to_json(const vmheap::HeapVersion& version) {
  return {{"version", version.version},
          {"parent", version.parent},
          {"created_realtime_ns", version.created_realtime_ns},
          {"pages_written", version.pages_written},
          {"bytes_written", version.bytes_written},
          {"of_checkpoint", version.of_checkpoint},
          {"tags", version.tags}};
}

ordered_json to_json(const std::vector<vmheap::HeapRegion>& regions) {
  ordered_json result = ordered_json::array();
  for (const vmheap::HeapRegion& region : regions) {
    result.push_back(
        {{"begin", region.begin}, {"size_bytes", region.size}, {"line_bytes", region.line_bytes}});
  }
  return result;
}

ordered_json to_json(const std::optional<vmheap::HeapInUse>& in_use) {
  if (!in_use) return nullptr;
  ordered_json result{{"pid", in_use->pid}};
  result.update(ordered_json::parse(in_use->statistics.json()));
  return result;
}

std::string live_text(const std::optional<vmheap::HeapInUse>& in_use) {
  if (!in_use) return {};
  const vmheap::Statistics& now = in_use->statistics;
  return fmt::format(
      "open in process {}: {} of {} in memory, {} changed; {} hits, {} misses, {} evictions, {} in, {} "
      "out{}{}\n",
      in_use->pid, human_bytes(now.resident_bytes), human_bytes(now.resident_limit_bytes),
      human_bytes(now.dirty_bytes), now.hits, now.missing_faults, now.evictions, human_bytes(now.bytes_in),
      human_bytes(now.bytes_out), now.failure.empty() ? "" : "; ", now.failure);
}

// "lines of 4.0 KiB, from 16.0 MiB on of 1.0 MiB"
std::string lines_of(const std::vector<vmheap::HeapRegion>& regions) {
  std::string text = fmt::format("lines of {}", human_bytes(regions.front().line_bytes));
  for (const vmheap::HeapRegion& region : std::span(regions).subspan(1))
    text += fmt::format(", from {} on of {}", human_bytes(region.begin), human_bytes(region.line_bytes));
  return text;
}

std::string stat(const Arguments& arguments) {
  vmheap::HeapSummary heap = vmheap::summarize(arguments.directory, arguments.name);
  return answer(
      arguments,
      {{"base", heap.base},
       {"size_bytes", heap.size_bytes},
       {"line_bytes", heap.regions.front().line_bytes},
       {"regions", to_json(heap.regions)},
       {"version", heap.version},
       {"versions", heap.versions.size()},
       {"content_bytes", heap.content_bytes},
       {"disk_bytes", heap.disk_bytes},
       {"live", to_json(heap.in_use)}},
      fmt::format("address {:#x}, size {}, {}\nversion {}, {} kept, content {}, {} on disk\n", heap.base,
                  human_bytes(heap.size_bytes), lines_of(heap.regions), heap.version, heap.versions.size(),
                  human_bytes(heap.content_bytes), human_bytes(heap.disk_bytes)) +
          live_text(heap.in_use));
}

std::string versions(const Arguments& arguments) {
  ordered_json all = ordered_json::array();
  std::string text;
  for (const vmheap::HeapVersion& version : vmheap::summarize(arguments.directory, arguments.name).versions) {
    all.push_back(to_json(version));
    text += fmt::format("{} (on {}): {} written{}{}{}\n", version.version, version.parent,
                        human_bytes(version.bytes_written), version.of_checkpoint ? ", for a checkpoint" : "",
                        version.tags.empty() ? "" : ", tagged ", fmt::join(version.tags, ", "));
  }
  return answer(arguments, {{"versions", all}}, text);
}

std::string verify(const Arguments& arguments) {
  vmheap::HeapVerification found = vmheap::verify(arguments.directory, arguments.name);
  if (!found.damaged.empty()) {
    throw Error(fmt::format("version {} is damaged: {}; roll back to one of: {}",
                            found.damaged.front().version, found.damaged.front().cause,
                            fmt::join(found.sound, " ")));
  }
  return answer(arguments, {{"sound", found.sound}, {"pages", found.pages}},
                fmt::format("sound: {}\n", fmt::join(found.sound, " ")));
}

std::string new_version(const Arguments& arguments, std::uint64_t version) {
  return answer(arguments, {{"version", version}}, fmt::format("version {}\n", version));
}

// By number or tag.
std::uint64_t version_of(const Arguments& arguments) {
  if (auto number = parse_unsigned(arguments.argument)) return *number;
  for (const vmheap::HeapVersion& version : vmheap::summarize(arguments.directory, arguments.name).versions) {
    if (std::ranges::find(version.tags, arguments.argument) != version.tags.end()) return version.version;
  }
  throw Error(fmt::format("'{}' is no version; see ckpt heap versions", arguments.argument));
}

std::string roll_back(const Arguments& arguments) {
  return new_version(arguments,
                     vmheap::roll_back(arguments.directory, version_of(arguments), arguments.name));
}

std::string tag(const Arguments& arguments) {
  std::uint64_t version = version_of(arguments);
  vmheap::tag(arguments.directory, version, arguments.label, arguments.name);
  return answer(arguments, {{"version", version}, {"tag", arguments.label}}, "");
}

std::string untag(const Arguments& arguments) {
  vmheap::untag(arguments.directory, arguments.argument, arguments.name);
  return answer(arguments, {{"tag", arguments.argument}}, "");
}

std::string compact(const Arguments& arguments) {
  return new_version(arguments, vmheap::compact(arguments.directory, arguments.name));
}

std::string export_to(const Arguments& arguments) {
  vmheap::export_heap(arguments.directory, arguments.argument, arguments.name);
  return answer(arguments, {{"file", arguments.argument}}, "");
}

std::string import_from(const Arguments& arguments) {
  vmheap::import_heap(arguments.directory, arguments.argument, arguments.name);
  return answer(arguments, {{"file", arguments.argument}}, "");
}

}  // namespace

struct HeapCommand::Action {
  const char* name;
  const char* help;
  const char* argument;  // nullptr: takes none
  const char* label;     // a second one; nullptr: takes none
  std::string (*run)(const Arguments& arguments);
};

const HeapCommand::Action HeapCommand::kActions[] = {
    {"stat", "Show address, size and content of a heap", nullptr, nullptr, stat},
    {"verify", "Read every byte of all versions", nullptr, nullptr, verify},
    {"versions", "List the versions", nullptr, nullptr, versions},
    {"rollback", "Make an older version the newest", "VERSION|TAG", nullptr, roll_back},
    {"tag", "Give a version a name, and keep it", "VERSION|TAG", "LABEL", tag},
    {"untag", "Take a name back", "LABEL", nullptr, untag},
    {"export", "Write the newest version to a sparse file", "FILE", nullptr, export_to},
    {"import", "Make a heap from such a file", "FILE", nullptr, import_from},
    {"compact", "Keep only the newest version and tagged ones, without unused space", nullptr, nullptr,
     compact},
};

HeapCommand::HeapCommand(CLI::App& app)
    : heap_(app.add_subcommand("heap", "Look at a persistent heap, or change it while nobody uses it")) {
  heap_->require_subcommand(1);
  for (const Action& action : kActions) {
    CLI::App* sub = heap_->add_subcommand(action.name, action.help);
    sub->add_flag("--json", json_, "Print JSON");
    sub->add_option("--heap", name_, "Which of several in the directory (default: heap)")->type_name("NAME");
    sub->add_option("directory", directory_, "Directory of the heap")->type_name("DIRECTORY")->required();
    if (action.argument == nullptr) continue;
    sub->add_option("argument", argument_, action.help)->type_name(action.argument)->required();
    if (action.label == nullptr) continue;
    sub->add_option("label", label_, "The name")->type_name(action.label)->required();
  }
}

std::string HeapCommand::run() const {
  for (const Action& action : kActions) {
    if (!heap_->got_subcommand(action.name)) continue;
    return action.run(
        {.directory = directory_, .argument = argument_, .label = label_, .name = name_, .json = json_});
  }
  return {};
}

}  // namespace ckpt::launcher
