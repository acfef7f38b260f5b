#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ckpt {

// A whole string as an unsigned number; nothing else may follow it.
std::optional<std::uint64_t> parse_unsigned(std::string_view text, int base = 10);

// What stands before the first `separator` (all of it, without one), which is cut off with the separator.
std::string_view take_field(std::string_view& text, char separator);

// The first line of `text`, which is cut off with its end.
std::string_view take_line(std::string_view& text);

// The last of several words, separated by blanks or tabs.
std::string_view last_word(std::string_view text);

// Value of "Key:\tvalue" in a procfs status-like text, blanks trimmed; empty view if absent.
std::string_view status_field(std::string_view text, std::string_view key);

}  // namespace ckpt
