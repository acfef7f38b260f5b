#include "launcher/signal_names.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/parse.h"

namespace ckpt::launcher {
namespace {

std::optional<int> lookup(std::string_view name) {
  if (name.starts_with("RTMIN")) {
    std::string_view rest = name.substr(5);
    if (rest.empty()) return SIGRTMIN;
    std::optional<std::uint64_t> offset = rest[0] == '+' ? parse_unsigned(rest.substr(1)) : std::nullopt;
    if (!offset || *offset > 64) return std::nullopt;
    return SIGRTMIN + static_cast<int>(*offset);
  }
  for (int signal = 1; signal < SIGRTMIN; ++signal) {
    const char* abbreviation = sigabbrev_np(signal);
    if (abbreviation != nullptr && name == abbreviation) return signal;
  }
  return std::nullopt;
}

}  // namespace

int parse_signal(std::string_view text) {
  std::string name(text);
  std::ranges::transform(name, name.begin(), [](char c) {
    return static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  });
  if (name.starts_with("SIG")) name.erase(0, 3);
  std::optional<int> signal = lookup(name);
  if (!signal) {
    if (std::optional<std::uint64_t> number = parse_unsigned(name); number && *number <= 64) {
      signal = static_cast<int>(*number);
    }
  }
  if (!signal || *signal < 1 || *signal > SIGRTMAX) {
    throw Error(fmt::format(
        "'{}' is not a signal; write a name such as USR1, or a number (kill -l lists them)", text));
  }
  return *signal;
}

std::string signal_name(int signal) {
  if (const char* abbreviation = sigabbrev_np(signal)) return fmt::format("SIG{}", abbreviation);
  if (signal == SIGRTMIN) return "SIGRTMIN";
  if (signal > SIGRTMIN && signal <= SIGRTMAX) return fmt::format("SIGRTMIN+{}", signal - SIGRTMIN);
  return fmt::format("signal {}", signal);
}

}  // namespace ckpt::launcher
