#include "engine/resource/fdinfo_lines.h"

#include "base/parse.h"

namespace ckpt::engine::resource {

std::string_view word_after(std::string_view line, std::string_view key) {
  std::size_t found = line.find(key);
  if (found == std::string_view::npos) return {};
  line.remove_prefix(found + key.size());
  while (line.starts_with(' ') || line.starts_with('\t')) line.remove_prefix(1);
  return line.substr(0, line.find_first_of(" \t\n"));
}

std::optional<std::uint64_t> value_after(std::string_view line, std::string_view key, int base) {
  return parse_unsigned(word_after(line, key), base);
}

void for_each_line(std::string_view text, std::string_view prefix,
                   const std::function<void(std::string_view)>& visit) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (line.starts_with(prefix)) visit(line);
  }
}

}  // namespace ckpt::engine::resource
