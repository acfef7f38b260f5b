#include "engine/capture/program_intent.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "engine/resource/descriptors.h"

namespace ckpt::engine {
namespace {

using agent::Intents;

std::string module_at(const std::vector<MapEntry>& maps, std::uint64_t address) {
  auto after = std::ranges::upper_bound(maps, address, {}, &MapEntry::start);
  if (after == maps.begin()) return {};
  const MapEntry& entry = *(after - 1);
  return address < entry.end ? entry.path : std::string();
}

// The file that a descriptor was opened by; empty for what has no path.
std::string_view path_of(const image::DescriptionT& description) {
  const image::DescriptionDetailUnion& detail = description.detail;
  if (const auto* file = detail.AsRegularFileDetail()) return file->path;
  if (const auto* directory = detail.AsDirectoryDetail()) return directory->path;
  if (const auto* device = detail.AsDeviceDetail()) return device->path;
  if (const auto* terminal = detail.AsTerminalDetail()) return terminal->path;
  if (const auto* fifo = detail.AsFifoDetail()) return fifo->path;
  if (const auto* file = detail.AsKernelFileDetail()) return file->path;
  return {};
}

bool is_socket(const image::DescriptionT& description) {
  std::string_view kind = image::EnumNameDescriptionDetail(description.detail.type);
  return kind.find("Socket") != std::string_view::npos;
}

// The number may have been closed and used again by calls that the agent does not see.
bool agrees(const agent::Origin& origin, const image::DescriptionT& description) {
  if (origin.call != agent::kOpen) return is_socket(description);
  std::string_view path = path_of(description);
  std::string name = text_in(origin.name);
  return !name.empty() && path.ends_with(name);
}

const char* name_of(agent::IntentCall call) {
  switch (call) {
    case agent::kOpen:
      return "open";
    case agent::kConnect:
      return "connect";
    case agent::kBind:
      return "bind";
    case agent::kListen:
      return "listen";
    default:
      return nullptr;
  }
}

void add_origins(const Intents& intents, const std::vector<MapEntry>& maps, image::ProcessT& process) {
  for (auto& descriptor : process.descriptors) {
    auto number = static_cast<std::size_t>(descriptor->number);
    auto index = static_cast<std::size_t>(descriptor->description);
    if (number >= intents.origins.size() || index >= process.descriptions.size()) continue;
    const agent::Origin& noted = intents.origins.at(number);
    const char* call = name_of(noted.call);
    if (call == nullptr || !agrees(noted, *process.descriptions[index])) continue;
    descriptor->origin = std::make_unique<image::OriginT>();
    descriptor->origin->call = call;
    descriptor->origin->module_path = module_at(maps, noted.caller);
    descriptor->origin->host = text_in(noted.host);
  }
}

// What of a reserved range is mapped still.
void add_reservations(const Intents& intents, const std::vector<MapEntry>& maps, image::ProcessT& process) {
  for (const agent::Reservation& noted : intents.reservations) {
    if (noted.start >= noted.end || module_at(maps, noted.start).starts_with('/')) continue;
    auto inside = [&noted](const MapEntry& entry) {
      return entry.start < noted.end && noted.start < entry.end;
    };
    if (std::ranges::none_of(maps, inside)) continue;
    auto reservation = std::make_unique<image::ReservationT>();
    reservation->start = noted.start;
    reservation->end = noted.end;
    reservation->module_path = module_at(maps, noted.caller);
    process.reservations.push_back(std::move(reservation));
  }
}

}  // namespace

std::string opener_of(const AgentTables& tables, const std::vector<MapEntry>& maps, int number,
                      const std::string& link) {
  for (const AgentTable& table : tables.all()) {
    auto index = static_cast<std::size_t>(number);
    std::unique_ptr<Intents> intents = table.read_intents(index + 1);
    if (intents == nullptr || intents->recording == 0 || index >= intents->origins.size()) continue;
    const agent::Origin& noted = intents->origins.at(index);
    std::string name = text_in(noted.name);
    // Kinds of kernel objects are known by a part of their name.
    bool agrees =
        link.starts_with("anon_inode:") ? link.find(name) != std::string::npos : link.ends_with(name);
    if (noted.call == agent::kOpen && !name.empty() && agrees) return module_at(maps, noted.caller);
  }
  return {};
}

void describe_intent(const AgentTables& tables, const std::vector<MapEntry>& maps, image::ProcessT& process) {
  auto descriptors = static_cast<std::size_t>(first_free_descriptor(process));
  for (const AgentTable& table : tables.all()) {
    std::unique_ptr<Intents> intents = table.read_intents(descriptors);
    if (intents == nullptr || intents->recording == 0) continue;
    add_origins(*intents, maps, process);
    add_reservations(*intents, maps, process);
  }
}

}  // namespace ckpt::engine
