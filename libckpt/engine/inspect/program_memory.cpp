#include "engine/inspect/program_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/unique_fd.h"
#include "engine/capture/file_identity.h"

namespace ckpt::engine {

using image::MappingKind;
using store::kPageBytes;

ProgramMemory::ProgramMemory(const store::CheckpointReader& reader, const image::CheckpointT& checkpoint,
                             const image::ProcessT& process)
    : reader_(reader), checkpoint_(checkpoint), process_(process) {}

const image::MappingT* ProgramMemory::mapping_at(std::uint64_t address) const {
  const auto& mappings = process_.mappings;  // ascending
  auto found =
      std::ranges::upper_bound(mappings, address, {}, [](const auto& mapping) { return mapping->end; });
  return found != mappings.end() && (*found)->start <= address ? found->get() : nullptr;
}

const std::string& ProgramMemory::path_of(std::int32_t file) {
  auto [entry, is_new] = sound_.try_emplace(file);
  if (!is_new) return entry->second;
  const image::MappedFileT& described = *process_.mapped_files.at(static_cast<std::size_t>(file));
  try {
    if (!described.written) check_identity(described);
    entry->second = described.path;
  } catch (const Error&) {
    // gone, or another file by now
  }
  return entry->second;
}

bool ProgramMemory::load_from_file(const image::MappingT& mapping, std::uint64_t offset, Page& page) {
  UniqueFd fd(::open(path_of(mapping.file).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return false;
  ssize_t got = ::pread(fd.get(), page.data(), page.size(), static_cast<off_t>(mapping.offset + offset));
  if (got < 0) return false;
  std::fill(page.begin() + got, page.end(), std::byte{0});
  return true;
}

bool ProgramMemory::load(std::uint64_t address, Page& page) {
  const image::MappingT* mapping = mapping_at(address);
  if (mapping == nullptr) return false;
  std::uint64_t offset = address - mapping->start;
  store::SpaceId space = process_.space;
  switch (mapping->kind) {
    case MappingKind::Anonymous:
      reader_.read_or_zero(space, {address / kPageBytes, 1}, page);
      return true;
    case MappingKind::PrivateFile:
      return reader_.read_or_zero(space, {address / kPageBytes, 1}, page) > 0 ||
             load_from_file(*mapping, offset, page);
    case MappingKind::SharedFile:
      return load_from_file(*mapping, offset, page);
    case MappingKind::SharedObject:
      space = checkpoint_.objects.at(static_cast<std::size_t>(mapping->object))->space;
      reader_.read_or_zero(space, {(mapping->offset + offset) / kPageBytes, 1}, page);
      return true;
    default:
      return false;
  }
}

const ProgramMemory::Page* ProgramMemory::page_at(std::uint64_t address) {
  auto known = pages_.find(address);
  if (known != pages_.end()) return &known->second;
  Page page{};
  return load(address, page) ? &pages_.emplace(address, page).first->second : nullptr;
}

bool ProgramMemory::read(std::uint64_t address, std::span<std::byte> out) {
  while (!out.empty()) {
    std::uint64_t within = address % kPageBytes;
    const Page* page = page_at(address - within);
    if (page == nullptr) return false;
    std::size_t size = std::min<std::size_t>(out.size(), kPageBytes - within);
    std::memcpy(out.data(), page->data() + within, size);
    out = out.subspan(size);
    address += size;
  }
  return true;
}

}  // namespace ckpt::engine
