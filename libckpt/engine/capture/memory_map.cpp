#include "engine/capture/memory_map.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"

namespace ckpt::engine {
namespace {

// "\012" for a newline in a path is the only escape that the kernel uses here.
std::string unescape(std::string_view path) {
  std::string text(path);
  for (std::size_t at = 0; (at = text.find("\\012", at)) != std::string::npos; ++at)
    text.replace(at, 4, "\n");
  return text;
}

// Nothing if the line is not a mapping (smaps has other lines in between).
std::optional<MapEntry> parse_mapping(std::string_view line) {
  MapEntry entry;
  auto start = parse_unsigned(take_field(line, '-'), 16);
  auto end = parse_unsigned(take_field(line, ' '), 16);
  std::string_view access = take_field(line, ' ');
  auto offset = parse_unsigned(take_field(line, ' '), 16);
  auto major = parse_unsigned(take_field(line, ':'), 16);
  auto minor = parse_unsigned(take_field(line, ' '), 16);
  auto inode = parse_unsigned(take_field(line, ' '));
  if (!start || !end || access.size() != 4 || !offset || !major || !minor || !inode) return std::nullopt;
  entry.start = *start;
  entry.end = *end;
  entry.protection = (access[0] == 'r' ? PROT_READ : 0u) | (access[1] == 'w' ? PROT_WRITE : 0u) |
                     (access[2] == 'x' ? PROT_EXEC : 0u);
  entry.shared = access[3] == 's';
  entry.offset = *offset;
  entry.device = makedev(static_cast<unsigned>(*major), static_cast<unsigned>(*minor));
  entry.inode = *inode;
  line.remove_prefix(std::min(line.size(), line.find_first_not_of(' ')));
  entry.path = unescape(line);
  return entry;
}

// Of a code of two lower-case letters; the kernel has "??" for what it has no code for.
std::optional<std::size_t> number_of(std::string_view code) {
  if (code.size() != 2) return std::nullopt;
  auto first = static_cast<unsigned>(code[0] - 'a');
  auto second = static_cast<unsigned>(code[1] - 'a');
  if (first >= 26 || second >= 26) return std::nullopt;
  return first * std::size_t{26} + second;
}

}  // namespace

bool is_vdso_or_data(const MapEntry& entry) {
  return entry.path == "[vdso]" || entry.path.starts_with("[vvar");
}

std::vector<MapEntry> read_memory_map(pid_t pid) {
  std::string text = read_file(fmt::format("/proc/{}/maps", pid));
  std::vector<MapEntry> entries;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = take_line(rest);
    std::optional<MapEntry> entry = parse_mapping(line);
    if (!entry)
      throw Error(fmt::format("cannot read '{}' in /proc/{}/maps; this kernel is not supported", line, pid));
    entries.push_back(std::move(*entry));
  }
  return entries;
}

bool MapFlags::has(std::string_view code) const {
  std::optional<std::size_t> number = number_of(code);
  return number && codes.test(*number);
}

void MapFlags::set_codes(std::string_view text) {
  codes.reset();
  while (!text.empty()) {
    if (std::optional<std::size_t> number = number_of(take_field(text, ' '))) codes.set(*number);
  }
}

MapFlagsTable MapFlagsTable::read(pid_t pid) {
  std::string text = read_file(fmt::format("/proc/{}/smaps", pid));
  MapFlagsTable table;
  MapFlags* current = nullptr;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view line = take_line(rest);
    if (current != nullptr && line.starts_with("VmFlags:")) {
      current->set_codes(line.substr(8));
    } else if (current != nullptr && line.starts_with("Swap:")) {
      std::string_view amount = status_field(line, "Swap");
      current->swapped_bytes = parse_unsigned(take_field(amount, ' ')).value_or(0) * 1024;
    } else if (current != nullptr && line.starts_with("ProtectionKey:")) {
      auto key = parse_unsigned(status_field(line, "ProtectionKey"));
      current->protection_key = static_cast<std::uint8_t>(key.value_or(0));
    } else if (!line.empty() && (line[0] < 'A' || line[0] > 'Z')) {
      if (std::optional<MapEntry> entry = parse_mapping(line)) {
        current = &table.by_start_[entry->start];
        current->entry = std::move(*entry);
      }
    }
  }
  return table;
}

bool MapFlagsTable::covers(const std::vector<MapEntry>& maps) const {
  return std::ranges::all_of(maps, [this](const MapEntry& entry) {
    auto found = by_start_.find(entry.start);
    return found != by_start_.end() && found->second.entry == entry;
  });
}

std::vector<MapEntry> MapFlagsTable::with(const char* code) const {
  std::vector<MapEntry> found;
  for (const auto& [start, flags] : by_start_) {
    if (flags.has(code)) found.push_back(flags.entry);
  }
  return found;
}

const MapFlags& MapFlagsTable::of(const MapEntry& entry) const {
  auto found = by_start_.find(entry.start);
  if (found == by_start_.end())
    throw Error(fmt::format("no flags known for the mapping at {:#x}", entry.start));
  return found->second;
}

}  // namespace ckpt::engine
