#include "launcher/run_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <span>

#include "base/error.h"
#include "base/file_io.h"
#include "base/unique_fd.h"
#include "launcher/choices.h"
#include "launcher/json_text.h"
#include "launcher/keep_rule.h"

namespace ckpt::launcher {
namespace {

using nlohmann::json;

constexpr const char* kRunningFile = "running";
constexpr const char* kEndedFile = "ended";
constexpr const char* kSettingsFile = "settings";
constexpr const char* kCopiedFile = "copied";

void write_file(int directory, const std::string& name, const std::string& content) {
  std::string temporary = name + ".tmp";
  UniqueFd file(
      ::openat(directory, temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) throw_errno(fmt::format("create the application's file '{}'; the store must be writable", name));
  pwrite_all(file.get(), std::as_bytes(std::span(content)), 0,
             fmt::format("the application's file '{}'", name));
  if (::fdatasync(file.get()) != 0) throw_errno(fmt::format("sync the application's file '{}'", name));
  if (::renameat(directory, temporary.c_str(), directory, name.c_str()) != 0) {
    throw_errno(fmt::format("rename the application's file '{}'", name));
  }
}

std::optional<std::string> read_small_file(int directory, const char* name) {
  UniqueFd file(::openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return std::nullopt;
  std::string content;
  std::array<char, 4096> buffer;
  for (;;) {
    ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

void remove_file(int directory, const char* name) {
  if (::unlinkat(directory, name, 0) != 0 && errno != ENOENT) {
    throw_errno(fmt::format("remove the application's file '{}'; the store must be writable", name));
  }
}

// Runs `read` on the parsed text; whatever does not fit makes the result empty.
template <typename Record, typename Read>
std::optional<Record> parse_record(std::string_view text, Read read) {
  try {
    return read(json::parse(text));
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

template <typename Record, typename Parse>
std::optional<Record> load(int directory, const char* name, Parse parse) {
  std::optional<std::string> text = read_small_file(directory, name);
  return text ? parse(*text) : std::nullopt;
}

}  // namespace

std::string to_json_text(const RunningRecord& record) {
  return json_line({{"pid", record.program.pid},
                    {"start_time", record.program.start_time},
                    {"boot_id", record.program.boot_id},
                    {"supervisor_pid", record.supervisor},
                    {"run_id", record.run_id},
                    {"command", record.command},
                    {"working_directory", record.working_directory}});
}

std::optional<RunningRecord> parse_running(std::string_view text) {
  return parse_record<RunningRecord>(text, [](const json& j) {
    RunningRecord record;
    record.program.pid = j.at("pid").get<pid_t>();
    record.program.start_time = j.at("start_time").get<std::uint64_t>();
    record.program.boot_id = j.at("boot_id").get<std::string>();
    record.supervisor = j.at("supervisor_pid").get<pid_t>();
    record.run_id = j.at("run_id").get<std::string>();
    record.command = j.at("command").get<std::vector<std::string>>();
    record.working_directory = j.at("working_directory").get<std::string>();
    return record;
  });
}

std::string to_json_text(const EndRecord& record) {
  return json_line({{"suspended", record.suspended},
                    {"signalled", record.end.signalled},
                    {"code", record.end.code},
                    {"realtime_ns", record.realtime_ns},
                    {"version", record.version}});
}

std::optional<EndRecord> parse_ended(std::string_view text) {
  return parse_record<EndRecord>(text, [](const json& j) {
    return EndRecord{.suspended = j.at("suspended").get<bool>(),
                     .end = {.signalled = j.at("signalled").get<bool>(), .code = j.at("code").get<int>()},
                     .realtime_ns = j.at("realtime_ns").get<std::int64_t>(),
                     .version = j.value("version", store::Version{0})};
  });
}

std::string to_json_text(const Settings& settings) {
  return json_line(
      {{"every_ns", settings.every ? settings.every->count() : 0},
       {"keep", to_string(settings.keep)},
       {"files", name_of(settings.files)},
       {"on_term", settings.on_term == OnTerm::kSave ? "save" : "pass"},
       {"on_signal", settings.on_signal},
       {"mode", name_of(settings.mode)},
       {"pause_budget_ns", settings.pause_budget.count()},
       {"compress", name_of(settings.write)},
       {"leases", settings.leases},
       {"cpu_baseline", settings.cpu_baseline},
       {"heap_resident", settings.heap_resident},
       {"lease_policy", settings.lease_policy ? std::string(name_of(*settings.lease_policy)) : ""},
       {"sockets", name_of(settings.sockets)}});
}

std::optional<Settings> parse_settings(std::string_view text) {
  return parse_record<Settings>(text, [](const json& j) {
    Settings settings;
    if (auto every = j.at("every_ns").get<std::int64_t>(); every > 0)
      settings.every = std::chrono::nanoseconds(every);
    settings.files = parse_file_policy(j.value("files", "keep"));
    settings.keep = parse_keep_rule(j.at("keep").get<std::string>());
    settings.on_term = j.at("on_term").get<std::string>() == "save" ? OnTerm::kSave : OnTerm::kPass;
    settings.on_signal = j.at("on_signal").get<int>();
    settings.mode = parse_copy_mode(j.value("mode", "auto"));
    settings.pause_budget =
        std::chrono::nanoseconds(j.value("pause_budget_ns", settings.pause_budget.count()));
    settings.write = parse_compression(j.value("compress", "none"));
    settings.cpu_baseline = j.value("cpu_baseline", "");
    settings.heap_resident = j.value("heap_resident", settings.heap_resident);
    settings.leases = j.value("leases", settings.leases);
    if (std::string policy = j.value("lease_policy", ""); !policy.empty())
      settings.lease_policy = parse_lease_policy(policy);
    settings.sockets = parse_outside_sockets(j.value("sockets", "reset"));
    return settings;
  });
}

std::optional<RunningRecord> RunState::running() const {
  return load<RunningRecord>(directory_, kRunningFile, parse_running);
}
bool RunState::has_running_file() const {
  return ::faccessat(directory_, kRunningFile, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}
std::optional<EndRecord> RunState::ended() const {
  return load<EndRecord>(directory_, kEndedFile, parse_ended);
}
std::optional<Settings> RunState::settings() const {
  return load<Settings>(directory_, kSettingsFile, parse_settings);
}
std::optional<store::Version> RunState::copied() const {
  return load<store::Version>(directory_, kCopiedFile, [](std::string_view text) {
    return parse_record<store::Version>(text,
                                        [](const json& j) { return j.at("version").get<store::Version>(); });
  });
}

void RunState::write_running(const RunningRecord& record) const {
  write_file(directory_, kRunningFile, to_json_text(record));
}
void RunState::write_ended(const EndRecord& record) const {
  write_file(directory_, kEndedFile, to_json_text(record));
}
void RunState::write_settings(const Settings& settings) const {
  write_file(directory_, kSettingsFile, to_json_text(settings));
}
void RunState::write_copied(store::Version version) const {
  write_file(directory_, kCopiedFile, json_line({{"version", version}}));
}
void RunState::clear_running() const { remove_file(directory_, kRunningFile); }
void RunState::clear_ended() const { remove_file(directory_, kEndedFile); }

}  // namespace ckpt::launcher
