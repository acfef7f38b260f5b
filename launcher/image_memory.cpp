#include "launcher/image_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "base/parse.h"
#include "image_generated.h"
#include "launcher/human_units.h"
#include "launcher/image_fields.h"

namespace ckpt::launcher {
namespace {

using image::MappingKind;
using nlohmann::ordered_json;
using store::CheckpointReader;
using store::PageRun;

constexpr std::uint64_t kMostEnvironmentBytes = 16U << 20;  // the kernel takes 6 MiB: execve(2)

// How much of a mapping a version holds.
class HeldPages {
 public:
  HeldPages(const image::Checkpoint& checkpoint, const CheckpointReader& version,
            const CheckpointReader* before)
      : checkpoint_(checkpoint), version_(version), before_(before) {}

  struct Bytes {
    std::uint64_t held = 0;
    std::uint64_t changed = 0;  // of those
  };

  Bytes of(const image::Process& process, const image::Mapping& mapping) {
    std::uint64_t start = mapping.start();
    std::uint64_t end = mapping.end();
    store::SpaceId space = process.space();
    if (mapping.object() >= 0) {
      const auto* objects = checkpoint_.objects();
      auto index = static_cast<flatbuffers::uoffset_t>(mapping.object());
      if (objects == nullptr || index >= objects->size()) return {};
      space = objects->Get(index)->space();
      start = mapping.offset();
      end = start + (mapping.end() - mapping.start());
    } else if (mapping.kind() == MappingKind::SharedFile) {
      return {};
    }
    const Runs& runs = runs_of(space);
    return {.held = pages_within(runs.present, start, end) * store::kPageBytes,
            .changed = pages_within(runs.changed, start, end) * store::kPageBytes};
  }

  // Empty if all page trees could be read.
  const std::string& damage() const { return damage_; }

 private:
  struct Runs {
    std::vector<PageRun> present;
    std::vector<PageRun> changed;
  };

  // Of a damaged version all else can still be told.
  const Runs& runs_of(store::SpaceId space) {
    auto [found, fresh] = spaces_.try_emplace(space);
    if (!fresh) return found->second;
    try {
      found->second.present = version_.runs(space);
      if (before_ != nullptr) found->second.changed = version_.differing(space, *before_);
    } catch (const Error& error) {
      damage_ = error.what();
    }
    return found->second;
  }

  const image::Checkpoint& checkpoint_;
  const CheckpointReader& version_;
  const CheckpointReader* before_;
  std::map<store::SpaceId, Runs> spaces_;
  std::string damage_;
};

struct Sum {
  std::uint64_t mappings = 0;
  std::uint64_t bytes = 0;
  std::uint64_t held = 0;
  std::uint64_t changed = 0;
};

std::string protection_text(std::uint32_t protection) {
  constexpr std::array<char, 3> kLetters{'r', 'w', 'x'};  // of PROT_READ, PROT_WRITE, PROT_EXEC
  std::string text;
  for (std::size_t bit = 0; bit < kLetters.size(); ++bit)
    text += (protection >> bit & 1U) != 0 ? kLetters[bit] : '-';
  return text;
}

ordered_json changed_bytes(const CheckpointReader* before, std::uint64_t bytes) {
  return before == nullptr ? ordered_json(nullptr) : ordered_json(bytes);
}

}  // namespace

std::string mapping_name(const image::Process& process, const image::Mapping& mapping) {
  const auto* files = process.mapped_files();
  auto file = static_cast<flatbuffers::uoffset_t>(mapping.file());
  if (mapping.file() >= 0 && files != nullptr && file < files->size() && files->Get(file)->path() != nullptr)
    return files->Get(file)->path()->str();
  return text(mapping.name());
}

std::uint64_t pages_within(const std::vector<PageRun>& runs, std::uint64_t start, std::uint64_t end) {
  std::uint64_t first = start / store::kPageBytes;
  std::uint64_t behind = end / store::kPageBytes;
  std::uint64_t count = 0;
  auto run = std::ranges::lower_bound(runs, first, std::ranges::less_equal(),
                                      [](const PageRun& r) { return r.first_page + r.page_count; });
  for (; run != runs.end() && run->first_page < behind; ++run)
    count += std::min(behind, run->first_page + run->page_count) - std::max(first, run->first_page);
  return count;
}

ordered_json memory_json(const image::Checkpoint& checkpoint, const CheckpointReader& version,
                         const CheckpointReader* before) {
  const image::Process& process = *checkpoint.process();
  HeldPages pages(checkpoint, version, before);
  std::array<Sum, static_cast<std::size_t>(MappingKind::MAX) + 1> sums{};
  ordered_json mappings = ordered_json::array();
  each(process.mappings(), [&](const image::Mapping* mapping) {
    HeldPages::Bytes bytes = pages.of(process, *mapping);
    mappings.push_back({{"start", mapping->start()},
                        {"end", mapping->end()},
                        {"protection", protection_text(mapping->protection())},
                        {"kind", image::EnumNameMappingKind(mapping->kind())},
                        {"name", mapping_name(process, *mapping)},
                        {"held_bytes", bytes.held},
                        {"changed_bytes", changed_bytes(before, bytes.changed)}});
    auto kind = static_cast<std::size_t>(mapping->kind());
    if (kind >= sums.size()) return;
    ++sums[kind].mappings;
    sums[kind].bytes += mapping->end() - mapping->start();
    sums[kind].held += bytes.held;
    sums[kind].changed += bytes.changed;
  });
  ordered_json kinds = ordered_json::array();
  for (std::size_t kind = 0; kind < sums.size(); ++kind) {
    if (sums[kind].mappings == 0) continue;
    kinds.push_back({{"kind", image::EnumNameMappingKind(static_cast<MappingKind>(kind))},
                     {"mapping_count", sums[kind].mappings},
                     {"bytes", sums[kind].bytes},
                     {"held_bytes", sums[kind].held},
                     {"changed_bytes", changed_bytes(before, sums[kind].changed)}});
  }
  ordered_json files = ordered_json::array();
  each(process.mapped_files(), [&](const image::MappedFile* file) { files.push_back(text(file->path())); });
  std::size_t count = mappings.size();
  ordered_json memory{
      {"mapping_count", count}, {"kinds", kinds}, {"mappings", std::move(mappings)}, {"files", files}};
  if (!pages.damage().empty()) memory["damage"] = pages.damage();
  return memory;
}

std::string memory_text(const ordered_json& memory) {
  std::string out = fmt::format("memory       {} mappings\n", memory["mapping_count"].get<std::uint64_t>());
  for (const ordered_json& kind : memory["kinds"]) {
    std::string changed =
        kind["changed_bytes"].is_null()
            ? ""
            : fmt::format(", {:>10} changed", human_bytes(kind["changed_bytes"].get<std::uint64_t>()));
    out += fmt::format("  {:<14} {:>6} mappings  {:>12}, {:>10} held{}\n", kind["kind"].get<std::string>(),
                       kind["mapping_count"].get<std::uint64_t>(),
                       human_bytes(kind["bytes"].get<std::uint64_t>()),
                       human_bytes(kind["held_bytes"].get<std::uint64_t>()), changed);
  }
  if (memory.contains("damage")) out += fmt::format("  damaged: {}\n", memory["damage"].get<std::string>());
  return out;
}

std::vector<std::string> environment_of(const image::Process& process, const CheckpointReader& version) try {
  std::vector<std::string> variables;
  const image::MemoryLayout* layout = process.layout();
  if (layout == nullptr || layout->env_end() <= layout->env_start()) return variables;
  if (layout->env_end() - layout->env_start() > kMostEnvironmentBytes) return variables;
  std::uint64_t first = layout->env_start() / store::kPageBytes;
  std::uint64_t count = (layout->env_end() - 1) / store::kPageBytes - first + 1;
  std::vector<std::byte> pages(count * store::kPageBytes);
  version.read_or_zero(process.space(), {.first_page = first, .page_count = count}, pages);
  std::string_view left(reinterpret_cast<const char*>(pages.data()) + layout->env_start() % store::kPageBytes,
                        layout->env_end() - layout->env_start());
  while (!left.empty()) {
    std::string_view variable = take_field(left, '\0');
    if (variable.find('=') != std::string_view::npos) variables.emplace_back(variable);
  }
  return variables;
} catch (const Error&) {
  return {};  // damaged, which the mappings tell
}

}  // namespace ckpt::launcher
