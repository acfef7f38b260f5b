#include "base/proc_stat.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt {

ProcStat::ProcStat(pid_t pid) {
  std::optional<ProcStat> parsed = parse(read_file(fmt::format("/proc/{}/stat", pid)));
  if (!parsed) throw Error(fmt::format("/proc/{}/stat is not understood", pid));
  *this = std::move(*parsed);
}

std::int64_t ProcStat::field(std::size_t number) const {
  if (number < 4 || number - 4 >= fields_.size())
    throw Error(fmt::format("/proc/PID/stat has no field {}", number));
  return fields_[number - 4];
}

// The name, in parentheses, may itself contain blanks and parentheses; the state, a letter, follows it.
std::optional<ProcStat> ProcStat::parse(std::string_view text) {
  constexpr std::size_t kNeeded = 22 - 3;  // later fields are there on every kernel that is new enough
  constexpr std::string_view kBeforeState = ") ";
  std::size_t name_end = text.rfind(kBeforeState);
  if (name_end == std::string_view::npos) return std::nullopt;
  std::string_view rest = text.substr(name_end + kBeforeState.size());
  std::string_view state = take_field(rest, ' ');
  if (state.empty()) return std::nullopt;
  ProcStat stat;
  stat.state_ = state.front();
  while (!rest.empty()) {
    std::string_view word = take_field(rest, ' ');
    std::int64_t value = 0;
    auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    // Sizes beyond what fits are none of those that anybody asks for.
    if (error == std::errc()) stat.fields_.push_back(value);
    if (error == std::errc::result_out_of_range) stat.fields_.push_back(-1);
  }
  if (stat.fields_.size() < kNeeded) return std::nullopt;
  return stat;
}

std::string name_of_process(pid_t pid) {
  std::string name = read_file(fmt::format("/proc/{}/comm", pid));
  if (name.ends_with('\n')) name.pop_back();
  return name;
}

}  // namespace ckpt
