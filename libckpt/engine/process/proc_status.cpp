#include "engine/process/proc_status.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt::engine {

ProcStatus ProcStatus::of_process(pid_t pid) {
  return ProcStatus(read_file(fmt::format("/proc/{}/status", pid)));
}

ProcStatus ProcStatus::of_thread(pid_t pid, pid_t tid) {
  return ProcStatus(read_file(fmt::format("/proc/{}/task/{}/status", pid, tid)));
}

ProcStatus ProcStatus::of_thread(const ThreadList& process, pid_t tid) {
  return ProcStatus(read_file_at(process.descriptor(), fmt::format("{}/status", tid)));
}

ProcStatus ProcStatus::of_self() { return ProcStatus(read_file("/proc/thread-self/status")); }

std::string_view ProcStatus::text(std::string_view key) const { return status_field(text_, key); }

std::string_view ProcStatus::lines(std::string_view first, std::string_view last) const {
  std::string_view text = text_;
  std::size_t begin = text.find(fmt::format("\n{}:", first));
  if (begin == std::string_view::npos) return {};
  text.remove_prefix(begin + 1);
  std::size_t end = text.find(fmt::format("\n{}:", last));
  if (end == std::string_view::npos) return {};
  return text.substr(0, text.find('\n', end + 1));
}

std::uint64_t ProcStatus::number(std::string_view key, int base) const {
  std::string_view value = text(key);
  if (auto number = parse_unsigned(value, base)) return *number;
  throw Error(fmt::format("/proc status field {} is '{}', a number was expected; is this kernel supported?",
                          key, value));
}

std::vector<std::uint32_t> ProcStatus::numbers(std::string_view key) const {
  std::vector<std::uint32_t> found;
  std::string_view rest = text(key);
  while (!rest.empty()) {
    std::size_t end = rest.find_first_of(" \t");
    auto number = parse_unsigned(rest.substr(0, end));
    if (!number) throw Error(fmt::format("/proc status field {} is not a list of numbers", key));
    found.push_back(static_cast<std::uint32_t>(*number));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end);
    rest.remove_prefix(std::min(rest.find_first_not_of(" \t"), rest.size()));
  }
  return found;
}

std::int32_t ProcStatus::innermost(std::string_view key) const {
  std::vector<std::uint32_t> levels = numbers(key);
  if (levels.empty())
    throw Error(fmt::format("/proc status has no field {}; is this kernel supported?", key));
  return static_cast<std::int32_t>(levels.back());
}

std::string ProcStatus::name() const {
  // Not status_field(): a name may begin or end with blanks.
  constexpr std::string_view kKey = "Name:\t";
  std::string_view line = std::string_view(text_).substr(0, text_.find('\n'));
  if (!line.starts_with(kKey))
    throw Error("/proc status does not begin with a name; is this kernel supported?");
  line.remove_prefix(kKey.size());
  std::string name;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] != '\\' || i + 1 == line.size()) {
      name += line[i];
      continue;
    }
    ++i;
    name += line[i] == 'n' ? '\n' : line[i];
  }
  return name;
}

}  // namespace ckpt::engine
