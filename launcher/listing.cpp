#include "launcher/listing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "launcher/human_units.h"
#include "launcher/image_summary.h"
#include "launcher/naming.h"
#include "launcher/text_table.h"
#include "launcher/version_tree.h"
#include "store/inventory.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;

std::vector<std::string> list_row(const ApplicationSummary& application, std::int64_t now_ns) {
  const store::VersionDescription* latest =
      application.versions.empty() ? nullptr : &application.versions.back().description;
  std::string damaged =
      application.damaged.empty() ? "" : fmt::format(", {} damaged", application.damaged.size());
  return {application.name,
          latest ? fmt::format("{} (of {}{})", latest->version, application.versions.size(), damaged)
                 : fmt::format("-{}", damaged),
          latest ? human_age(now_ns - latest->created_realtime_ns) : "-",
          human_bytes(application.size_bytes()),
          describe(application.status),
          application.status.program != 0 ? std::to_string(application.status.program) : "-",
          latest ? std::to_string(latest->process_count) : "-",
          latest ? std::to_string(latest->thread_count) : "-",
          quoted_command(application.command)};
}

ordered_json stage_fields(const std::vector<store::Stage>& stages) {
  ordered_json fields = ordered_json::object();
  for (const store::Stage& stage : stages) fields[stage.name + "_us"] = stage.microseconds;
  return fields;
}

ordered_json stats_fields(const store::CheckpointStats& stats) {
  return {{"mode", stats.mode},
          {"freezing_time_us", stats.freezing_time_us},
          {"frozen_time_us", stats.frozen_time_us},
          {"memdump_time_us", stats.memdump_time_us},
          {"memwrite_time_us", stats.memwrite_time_us},
          {"pages_scanned", stats.pages_scanned},
          {"pages_skipped_parent", stats.pages_skipped_parent},
          {"pages_written", stats.pages_written},
          {"bytes_written", stats.bytes_written},
          {"resident_bytes", stats.resident_bytes},
          {"stages", stage_fields(stats.stages)}};
}

ordered_json end_json(const std::optional<EndRecord>& ended) {
  if (!ended || ended->suspended) return nullptr;
  return {{ended->end.signalled ? "signal" : "exit_status", ended->end.code},
          {"realtime_ns", ended->realtime_ns}};
}

ordered_json pid_json(pid_t pid) { return pid != 0 ? ordered_json(pid) : ordered_json(nullptr); }

}  // namespace

std::uint64_t ApplicationSummary::size_bytes() const {
  std::uint64_t sum = 0;
  for (const store::VersionEntry& entry : versions) sum += entry.segment_bytes;
  return sum;
}

ApplicationSummary summarize(const store::Application& application) {
  ApplicationSummary summary;
  summary.name = application.name();
  store::Inventory inventory = store::take_inventory(application);
  summary.versions = std::move(inventory.versions);
  summary.tags = application.tags();
  summary.damaged = std::move(inventory.damaged);
  summary.status = application_status(application.directory());
  if (!summary.versions.empty()) {
    summary.command = summary.versions.back().description.command;
    summary.working_directory = summary.versions.back().description.working_directory;
    if (is_heap(summary.versions.back().description)) summary.status.activity = Activity::kHeap;
  }
  std::optional<RunningRecord> running = RunState(application.directory()).running();
  if (running && (summary.versions.empty() || summary.status.alive())) {
    summary.command = running->command;
    summary.working_directory = running->working_directory;
  }
  return summary;
}

std::vector<std::string> labels_of(const ApplicationSummary& application, store::Version version) {
  std::vector<std::string> labels;
  for (const store::Tag& tag : application.tags) {
    if (tag.version == version) labels.push_back(tag.label);
  }
  return labels;
}

std::string versions_table(const ApplicationSummary& application, std::int64_t now_ns) {
  std::vector<std::vector<std::string>> rows{
      {"VERSION", "PARENT", "TAKEN", "AGE", "SIZE", "PAUSE", "PROCESSES", "THREADS", "MODE", "RUN", "TAGS"}};
  for (const TreeRow& row : version_tree(application.versions)) {
    const store::VersionEntry& entry = application.versions[row.entry];
    const store::VersionDescription& description = entry.description;
    rows.push_back({row.indent + std::to_string(description.version),
                    description.parent != 0 ? std::to_string(description.parent) : "-",
                    human_time(description.created_realtime_ns),
                    human_age(now_ns - description.created_realtime_ns), human_bytes(entry.segment_bytes),
                    human_microseconds(description.stats.frozen_time_us),
                    std::to_string(description.process_count), std::to_string(description.thread_count),
                    description.stats.mode, description.run_id,
                    fmt::format("{}", fmt::join(labels_of(application, description.version), " "))});
  }
  return text_table(rows);
}

ordered_json versions_json(const ApplicationSummary& application) {
  ordered_json versions = ordered_json::array();
  for (const store::VersionEntry& entry : application.versions) {
    ordered_json version = version_json(entry);
    store::Version ancestor = ancestor_of(application.versions, entry);
    version["ancestor"] = ancestor != 0 ? ordered_json(ancestor) : ordered_json(nullptr);
    version["tags"] = labels_of(application, entry.description.version);
    versions.push_back(std::move(version));
  }
  return versions;
}

std::string list_table(const std::vector<ApplicationSummary>& applications, std::int64_t now_ns) {
  std::vector<std::vector<std::string>> rows{
      {"NAME", "VERSION", "AGE", "SIZE", "STATE", "PID", "PROCESSES", "THREADS", "COMMAND"}};
  for (const ApplicationSummary& application : applications) rows.push_back(list_row(application, now_ns));
  return text_table(rows);
}

ordered_json version_json(const store::VersionEntry& entry) {
  const store::VersionDescription& description = entry.description;
  ordered_json out{
      {"version", description.version},
      {"parent", description.parent != 0 ? ordered_json(description.parent) : ordered_json(nullptr)},
      {"created_realtime_ns", description.created_realtime_ns},
      {"segment_bytes", entry.segment_bytes},
      {"run_id", description.run_id},
      {"pid", description.pid},
      {"process_count", description.process_count},
      {"thread_count", description.thread_count},
      {"notes", description.notes}};
  out.update(stats_fields(description.stats));
  return out;
}

ordered_json leases_json(const std::vector<LeaseChange>& changes) {
  ordered_json array = ordered_json::array();
  for (const LeaseChange& change : changes) {
    array.push_back({{"name", change.name},
                     {"kind", change.kind},
                     {"state", std::string(name_of(change.state))},
                     {"detail", change.detail},
                     {"realtime_ns", change.realtime_ns}});
  }
  return array;
}

std::string leases_text(const std::vector<LeaseChange>& changes) {
  std::string out;
  for (const LeaseChange& change : changes) {
    out += fmt::format("lease        {}  {} {}: {}{}{}\n", human_time(change.realtime_ns), change.kind,
                       change.name, name_of(change.state), change.detail.empty() ? "" : ", ", change.detail);
  }
  return out;
}

ordered_json application_json(const ApplicationSummary& application) {
  ordered_json latest = nullptr;
  if (!application.versions.empty()) latest = version_json(application.versions.back());
  return {{"name", application.name},
          {"state", name(application.status.activity)},
          {"pid", pid_json(application.status.program)},
          {"supervisor_pid", pid_json(application.status.supervisor)},
          {"ended", end_json(application.status.ended)},
          {"command", application.command},
          {"working_directory", application.working_directory},
          {"version_count", application.versions.size()},
          {"size_bytes", application.size_bytes()},
          {"latest", latest},
          {"damaged", application.damaged}};
}

ordered_json list_json(const std::vector<ApplicationSummary>& applications) {
  ordered_json array = ordered_json::array();
  for (const ApplicationSummary& application : applications) array.push_back(application_json(application));
  return {{"applications", array}};
}

ordered_json stats_json(const ApplicationSummary& application) {
  ordered_json array = ordered_json::array();
  for (const store::VersionEntry& entry : application.versions) {
    ordered_json fields{{"version", entry.description.version}};
    fields.update(stats_fields(entry.description.stats));
    array.push_back(fields);
  }
  return {{"name", application.name}, {"versions", array}};
}

// Field names as headings, the versions as columns: they stay readable in a narrow terminal.
std::string stats_table(const ApplicationSummary& application) {
  ordered_json json = stats_json(application);
  std::vector<std::vector<std::string>> rows;
  for (const ordered_json& version : json["versions"]) {
    std::size_t row = 0;
    for (const auto& [key, value] : version.items()) {
      if (value.is_object()) continue;  // the stages of the pause are for programs to read
      if (rows.size() <= row) rows.push_back({key});
      rows[row++].push_back(value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
  return text_table(rows);
}

}  // namespace ckpt::launcher
