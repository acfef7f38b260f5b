#include "launcher/image_summary.h"

#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "base/error.h"
#include "image_generated.h"
#include "launcher/human_units.h"
#include "launcher/image_fields.h"
#include "launcher/image_memory.h"

namespace ckpt::launcher {
namespace {

using nlohmann::ordered_json;

constexpr std::uint32_t kNewestFormat = 1;

ordered_json process_json(const image::Checkpoint& checkpoint) {
  const image::Process& process = *checkpoint.process();
  ordered_json out{{"pid", process.pid()},
                   {"process_group", process.process_group()},
                   {"session", process.session()},
                   {"executable", text(process.executable())},
                   {"working_directory", text(process.working_directory())},
                   {"umask", process.umask()},
                   {"host", nullptr},
                   {"kernel", nullptr}};
  if (checkpoint.host() != nullptr) {
    out["host"] = text(checkpoint.host()->name());
    out["kernel"] = text(checkpoint.host()->kernel());
    out["cpu_baseline"] = text(checkpoint.host()->cpu_baseline());
  }
  return out;
}

ordered_json threads_json(const image::Process& process) {
  ordered_json threads = ordered_json::array();
  each(process.threads(), [&](const image::Thread* thread) {
    threads.push_back({{"tid", thread->tid()}, {"name", text(thread->name())}});
  });
  return threads;
}

std::string detail_text(const image::Description& description) {
  if (const auto* inherited = description.detail_as_InheritedDetail()) {
    return fmt::format("as descriptor {} of ckptrun", inherited->number());
  }
  if (const auto* file = description.detail_as_RegularFileDetail()) return text(file->path());
  if (const auto* directory = description.detail_as_DirectoryDetail()) return text(directory->path());
  if (const auto* device = description.detail_as_DeviceDetail()) return text(device->path());
  if (const auto* terminal = description.detail_as_TerminalDetail()) return text(terminal->path());
  if (const auto* fifo = description.detail_as_FifoDetail()) return text(fifo->path());
  if (const auto* pipe = description.detail_as_PipeDetail()) {
    return fmt::format("pipe:[{}], {} bytes inside", pipe->inode(),
                       pipe->content() != nullptr ? pipe->content()->size() : 0);
  }
  return {};
}

// "RegularFileDetail" -> "RegularFile"
std::string kind_name(image::DescriptionDetail type) {
  std::string name = image::EnumNameDescriptionDetail(type);
  constexpr std::string_view kSuffix = "Detail";
  if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
  return name;
}

ordered_json origin_json(const image::Origin& origin) {
  ordered_json out{{"call", text(origin.call())}, {"module", text(origin.module_path())}};
  if (origin.host() != nullptr && origin.host()->size() > 0) out["host"] = text(origin.host());
  return out;
}

ordered_json reservations_json(const image::Process& process) {
  ordered_json reservations = ordered_json::array();
  each(process.reservations(), [&](const image::Reservation* reservation) {
    reservations.push_back({{"address", reservation->start()},
                            {"bytes", reservation->end() - reservation->start()},
                            {"module", text(reservation->module_path())}});
  });
  return reservations;
}

// "open by /usr/lib/libpython3.11.so", "connect to db.example by /usr/bin/app"
std::string origin_text(const ordered_json& origin) {
  std::string out = fmt::format("  [{}", origin["call"].get<std::string>());
  if (origin.contains("host")) out += fmt::format(" to {}", origin["host"].get<std::string>());
  return out + fmt::format(" by {}]", origin["module"].get<std::string>());
}

ordered_json descriptors_json(const image::Process& process) {
  ordered_json descriptors = ordered_json::array();
  each(process.descriptors(), [&](const image::Descriptor* descriptor) {
    ordered_json out{{"number", descriptor->number()}, {"close_on_exec", descriptor->close_on_exec()}};
    const auto* all = process.descriptions();
    auto index = static_cast<flatbuffers::uoffset_t>(descriptor->description());
    if (all != nullptr && descriptor->description() >= 0 && index < all->size()) {
      const image::Description* description = all->Get(index);
      out["description"] = index;
      out["kind"] = kind_name(description->detail_type());
      out["detail"] = detail_text(*description);
      out["offset"] = description->offset();
    }
    if (descriptor->origin() != nullptr) out["origin"] = origin_json(*descriptor->origin());
    descriptors.push_back(out);
  });
  return descriptors;
}

const char* state_of(const image::Process& process) {
  if (process.ended()) return "ended";
  return process.stopped() ? "stopped" : "running";
}

ordered_json relatives_json(const image::Checkpoint& checkpoint) {
  ordered_json relatives = ordered_json::array();
  each(checkpoint.relatives(), [&](const image::Process* process) {
    std::string name;
    each(process->threads(), [&](const image::Thread* thread) {
      if (name.empty()) name = text(thread->name());
    });
    relatives.push_back({{"pid", process->pid()},
                         {"parent", process->parent()},
                         {"name", name},
                         {"executable", text(process->executable())},
                         {"state", state_of(*process)},
                         {"process_group", process->process_group()},
                         {"session", process->session()},
                         {"threads", process->threads() == nullptr ? 0 : process->threads()->size()}});
  });
  return relatives;
}

std::string word(const ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// The children of `parent`, and theirs; 0: those whose parent is gone.
void append_tree(const ordered_json& image, std::int64_t parent, std::size_t depth, std::string& out) {
  for (const ordered_json& relative : image["relatives"]) {
    if (relative["parent"].get<std::int64_t>() != parent) continue;
    std::string indent(2 * depth, ' ');
    std::string state = word(relative["state"]);
    out += fmt::format("{}{} {}{}{}\n", indent, word(relative["pid"]), word(relative["name"]),
                       state == "running" ? "" : ", " + state, parent == 0 ? ", orphan" : "");
    append_tree(image, relative["pid"].get<std::int64_t>(), depth + 1, out);
  }
}

}  // namespace

bool is_heap(const store::VersionDescription& version) { return version.stats.mode == "heap"; }

void require_program(const std::string& name, const store::VersionDescription& version) {
  if (!is_heap(version)) return;
  throw Error(fmt::format("{} is a heap, not a program; see ckpt heap --help, or give another name", name));
}

const image::Checkpoint& verified_image(std::span<const std::byte> bytes) {
  constexpr std::string_view kHeap = "VMHEAP1\n";  // vmheap/heap/heap_format.h
  if (bytes.size() >= kHeap.size() && std::memcmp(bytes.data(), kHeap.data(), kHeap.size()) == 0)
    throw Error("this is a version of a heap, not of a program; see ckpt heap --help");
  flatbuffers::Verifier verifier(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (!image::VerifyCheckpointBuffer(verifier)) {
    throw Error("the process image is damaged; recover an older version");
  }
  const image::Checkpoint* checkpoint = image::GetCheckpoint(bytes.data());
  if (checkpoint->format() > kNewestFormat) {
    throw Error(fmt::format("the process image has format {}, newer than {}; use a newer ckpt",
                            checkpoint->format(), kNewestFormat));
  }
  if (checkpoint->process() == nullptr)
    throw Error("the process image has no process; recover an older version");
  return *checkpoint;
}

ordered_json image_json(const store::CheckpointReader& version, const store::CheckpointReader* before) {
  const image::Checkpoint& checkpoint = verified_image(version.image());
  return {{"process", process_json(checkpoint)},
          {"threads", threads_json(*checkpoint.process())},
          {"memory", memory_json(checkpoint, version, before)},
          {"descriptors", descriptors_json(*checkpoint.process())},
          {"reservations", reservations_json(*checkpoint.process())},
          {"relatives", relatives_json(checkpoint)},
          {"environment", environment_of(*checkpoint.process(), version)}};
}

std::string image_text(const ordered_json& image) {
  const ordered_json& process = image["process"];
  std::string out = fmt::format("process      pid {}, {}, in {}\n", word(process["pid"]),
                                word(process["executable"]), word(process["working_directory"]));
  if (!process["host"].is_null()) {
    out += fmt::format("taken on     {}, Linux {}\n", word(process["host"]), word(process["kernel"]));
  }
  out += fmt::format("threads      {}:", image["threads"].size());
  for (const ordered_json& thread : image["threads"]) {
    out += fmt::format(" {} ({})", word(thread["tid"]), word(thread["name"]));
  }
  if (!image["relatives"].empty()) {
    out += fmt::format("\nprocesses    {}\n", image["relatives"].size() + 1);
    append_tree(image, process["pid"].get<std::int64_t>(), 1, out);
    append_tree(image, 0, 1, out);
    out.pop_back();
  }
  out += "\n" + memory_text(image["memory"]);
  out += fmt::format("descriptors  {}\n", image["descriptors"].size());
  for (const ordered_json& descriptor : image["descriptors"]) {
    out += fmt::format("  {:>5} {:<12} {}{}\n", word(descriptor["number"]),
                       word(descriptor.value("kind", "?")), word(descriptor.value("detail", "")),
                       descriptor.contains("origin") ? origin_text(descriptor["origin"]) : "");
  }
  for (const ordered_json& reservation : image["reservations"]) {
    out += fmt::format("reserved     {} at {:#x} by {}\n",
                       human_bytes(reservation["bytes"].get<std::uint64_t>()),
                       reservation["address"].get<std::uint64_t>(), word(reservation["module"]));
  }
  out += fmt::format("environment  {}\n", image["environment"].size());
  for (const ordered_json& variable : image["environment"]) out += fmt::format("  {}\n", word(variable));
  return out;
}

}  // namespace ckpt::launcher
