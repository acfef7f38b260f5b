// Lines of /proc/PID/fdinfo/N (proc_pid_fdinfo(5)) that hold several "key:value" pairs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace ckpt::engine::resource {

// The value that follows "key:" in one line, blanks before it skipped, up to the next blank.
std::string_view word_after(std::string_view line, std::string_view key);
std::optional<std::uint64_t> value_after(std::string_view line, std::string_view key, int base);

// Every line of `text` that starts with `prefix`.
void for_each_line(std::string_view text, std::string_view prefix,
                   const std::function<void(std::string_view)>& visit);

}  // namespace ckpt::engine::resource
