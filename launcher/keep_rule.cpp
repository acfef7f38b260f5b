#include "launcher/keep_rule.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt::launcher {
namespace {

struct Part {
  const char* name;
  std::size_t store::Retention::*count;
};

constexpr std::array<Part, 5> kParts{{{"last", &store::Retention::last},
                                      {"hourly", &store::Retention::hourly},
                                      {"daily", &store::Retention::daily},
                                      {"weekly", &store::Retention::weekly},
                                      {"monthly", &store::Retention::monthly}}};

[[noreturn]] void refuse(std::string_view text) {
  throw Error(
      fmt::format("--keep does not take '{}'; give a number, 1 or more, or for example "
                  "'last 5, hourly 24, daily 7'",
                  text));
}

std::string_view trimmed(std::string_view text) {
  std::size_t begin = std::min(text.find_first_not_of(' '), text.size());
  return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
}

void parse_part(std::string_view text, std::string_view whole, store::Retention& retention) {
  std::string_view name = text.substr(0, text.find(' '));
  const auto* part = std::ranges::find_if(kParts, [&](const Part& known) { return name == known.name; });
  std::optional<std::uint64_t> count = parse_unsigned(trimmed(text.substr(name.size())));
  if (part == kParts.end() || !count) refuse(whole);
  retention.*part->count = *count;
}

}  // namespace

store::Retention parse_keep_rule(std::string_view text) {
  store::Retention retention{.last = 0};
  if (std::optional<std::uint64_t> last = parse_unsigned(trimmed(text))) {
    retention.last = *last;
  } else {
    std::string_view left = text;
    while (!left.empty()) parse_part(trimmed(take_field(left, ',')), text, retention);
  }
  // The one that was just made stays in any case: with --keep 'hourly 24' the next one of the hour replaces
  // it.
  if (retention == store::Retention{.last = 0})
    throw Error(fmt::format("--keep {} would keep nothing to resume; give 1 or more", text));
  retention.last = std::max<std::size_t>(retention.last, 1);
  return retention;
}

std::string to_string(const store::Retention& retention) {
  std::string text;
  for (const Part& part : kParts) {
    if (std::size_t count = retention.*part.count; count > 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", part.name, count);
  }
  return text;
}

}  // namespace ckpt::launcher
