#include "base/list_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ckpt {

std::string list_some(std::span<const std::string> names, std::size_t most) {
  if (names.size() <= most) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} and {} more", fmt::join(names.first(most), ", "), names.size() - most);
}

}  // namespace ckpt
