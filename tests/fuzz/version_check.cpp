#include "version_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <set>

#include "base/file_io.h"
#include "engine/image/image_file.h"
#include "engine/tracee/tracee.h"

namespace ckpt::fuzz {
namespace {

using engine::MapEntry;
using image::MappingKind;

constexpr std::array<std::byte, kPageBytes> kZeroPage{};
constexpr std::uint64_t kLeastRseqBytes = 32;

struct Stretch {
  std::uint64_t start, end;
};

// All pages of one space of a version.
class SpaceContent {
 public:
  SpaceContent(const store::CheckpointReader& version, store::SpaceId space) : runs_(version.runs(space)) {
    for (const store::PageRun& run : runs_) {
      places_.push_back(memory_.size());
      memory_.resize(memory_.size() + run.page_count * kPageBytes);
      version.read(space, run, std::span(memory_).subspan(places_.back()));
    }
  }

  // Nothing if the version has no such page.
  std::optional<PageBytes> page(std::uint64_t number) const {
    auto after = std::ranges::upper_bound(runs_, number, {}, &store::PageRun::first_page);
    if (after == runs_.begin()) return std::nullopt;
    const store::PageRun& run = *(after - 1);
    if (number >= run.first_page + run.page_count) return std::nullopt;
    const std::size_t place = places_[static_cast<std::size_t>(after - 1 - runs_.begin())];
    return PageBytes(memory_.data() + place + (number - run.first_page) * kPageBytes, kPageBytes);
  }

  const std::vector<store::PageRun>& runs() const { return runs_; }

 private:
  std::vector<store::PageRun> runs_;
  std::vector<std::size_t> places_;  // of each run
  std::vector<std::byte> memory_;
};

class Comparison {
 public:
  Comparison(const Snapshot& snapshot, const store::CheckpointReader& version, CheckTotals& totals)
      : snapshot_(snapshot),
        version_(version),
        totals_(totals),
        image_(engine::unpack_image(version.image())),
        private_pages_(version, image_->process->space) {
    for (const auto& thread : image_->process->threads) {
      if (thread->rseq == nullptr || thread->rseq->address == 0) continue;
      const std::uint64_t start = thread->rseq->address;
      written_by_kernel_.push_back(
          {start, start + std::max<std::uint64_t>(thread->rseq->size, kLeastRseqBytes)});
    }
  }

  std::optional<std::string> run() {
    if (auto found = compare_mappings()) return found;
    if (auto found = compare_guards()) return found;
    for (const Snapshot::Page& page : snapshot_.pages()) {
      if (auto found = compare_page(page)) return found;
    }
    return compare_absent();
  }

 private:
  std::optional<std::string> compare_mappings();
  std::optional<std::string> compare_guards() const;
  std::optional<std::string> compare_page(const Snapshot::Page& page);
  std::optional<std::string> compare_absent();
  std::optional<std::string> compare_bytes(const char* what, std::uint64_t address, PageBytes is,
                                           PageBytes should_be);

  const image::MappingT* mapping_at(std::uint64_t address) const;
  PageBytes file_page(const image::MappingT& mapping, std::uint64_t address);
  PageBytes content_of(const image::MappingT& mapping, std::uint64_t address);
  const SpaceContent& object_pages(const image::SharedObjectT& object);

  const Snapshot& snapshot_;
  const store::CheckpointReader& version_;
  CheckTotals& totals_;
  std::unique_ptr<image::CheckpointT> image_;
  SpaceContent private_pages_;
  std::map<store::SpaceId, SpaceContent> objects_;
  std::vector<Stretch> written_by_kernel_;
  std::array<std::byte, kPageBytes> file_page_{};
  std::map<std::string, UniqueFd> files_;
};

std::string text_of(const image::MappingT& mapping) {
  return fmt::format("{:x}-{:x} protection {} {} offset {:x} {}", mapping.start, mapping.end,
                     mapping.protection, image::EnumNameMappingKind(mapping.kind), mapping.offset,
                     mapping.name);
}

// Address space that a program cannot tell into mappings: neighbours with the same rights. The kernel merges
// them or does not for reasons of its own, so a restored program may have fewer mappings.
struct Range {
  std::uint64_t start, end;
  std::uint32_t protection;
  bool shared;
  bool operator==(const Range&) const = default;
};

void append(std::vector<Range>& ranges, const Range& range) {
  if (!ranges.empty() && ranges.back().end == range.start && ranges.back().protection == range.protection &&
      ranges.back().shared == range.shared) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

std::string text_of(const std::vector<Range>& ranges, std::size_t number) {
  if (number >= ranges.size()) return "nothing";
  const Range& range = ranges[number];
  return fmt::format("{:x}-{:x} protection {} {}", range.start, range.end, range.protection,
                     range.shared ? "shared" : "private");
}

// A ring's content is saved with its descriptor or its context.
bool is_ring(const image::MappingT& mapping) {
  return mapping.kind == MappingKind::RingMemory || mapping.kind == MappingKind::AioRing;
}

bool is_shared(const image::MappingT& mapping) {
  return mapping.kind == MappingKind::SharedFile || mapping.kind == MappingKind::SharedObject ||
         is_ring(mapping);
}

bool may_be_scratch(const MapEntry& entry) {
  return entry.shared && entry.path.starts_with("/dev/zero") &&
         entry.size_bytes() == engine::Tracee::kMappingBytes;
}

std::optional<std::string> Comparison::compare_mappings() {
  std::vector<Range> in_program;
  for (const MapEntry& entry : snapshot_.mappings()) {
    const image::MappingT* mapping = mapping_at(entry.start);
    if (entry.path == "[vsyscall]" || (mapping == nullptr && may_be_scratch(entry))) continue;
    append(in_program, {entry.start, entry.end, entry.protection, entry.shared && !is_made_by_kernel(entry)});
    if (mapping != nullptr && mapping->file >= 0 &&
        mapping->offset + (entry.start - mapping->start) != entry.offset)
      return fmt::format("the program has offset {:x} at {:x}, the image {}", entry.offset, entry.start,
                         text_of(*mapping));
  }
  std::vector<Range> in_image;
  for (const auto& mapping : image_->process->mappings)
    append(in_image, {mapping->start, mapping->end, mapping->protection, is_shared(*mapping)});
  const auto [program, image] = std::ranges::mismatch(in_program, in_image);
  totals_.mappings_compared += snapshot_.mappings().size();
  if (program == in_program.end() && image == in_image.end()) return std::nullopt;
  const auto number = static_cast<std::size_t>(program - in_program.begin());
  return fmt::format("the program has {} where the image has {}", text_of(in_program, number),
                     text_of(in_image, number));
}

std::optional<std::string> Comparison::compare_guards() const {
  std::vector<std::uint64_t> saved;
  for (const auto& mapping : image_->process->mappings) {
    for (const auto& guard : mapping->guards) {
      for (std::uint64_t at = guard.start(); at < guard.end(); at += kPageBytes) saved.push_back(at);
    }
  }
  if (saved == snapshot_.guards()) return std::nullopt;
  return fmt::format("the program has {} guard pages, the image {}, or others", snapshot_.guards().size(),
                     saved.size());
}

const image::MappingT* Comparison::mapping_at(std::uint64_t address) const {
  const auto& mappings = image_->process->mappings;
  auto after =
      std::ranges::upper_bound(mappings, address, {}, [](const auto& mapping) { return mapping->start; });
  if (after == mappings.begin()) return nullptr;
  const image::MappingT* mapping = (after - 1)->get();
  return address < mapping->end ? mapping : nullptr;
}

// Behind the end of the file: zero.
PageBytes Comparison::file_page(const image::MappingT& mapping, std::uint64_t address) {
  const std::string& path = image_->process->mapped_files.at(static_cast<std::size_t>(mapping.file))->path;
  auto [file, fresh] = files_.try_emplace(path);
  if (fresh) file->second = open_or_throw(path, O_RDONLY);
  file_page_.fill(std::byte{0});
  const auto offset = static_cast<off_t>(mapping.offset + (address - mapping.start));
  if (::pread(file->second.get(), file_page_.data(), kPageBytes, offset) < 0)
    file_page_.fill(std::byte{0xff});
  return file_page_;
}

const SpaceContent& Comparison::object_pages(const image::SharedObjectT& object) {
  auto found = objects_.find(object.space);
  if (found == objects_.end()) found = objects_.try_emplace(object.space, version_, object.space).first;
  return found->second;
}

// What a page would hold after a restore.
PageBytes Comparison::content_of(const image::MappingT& mapping, std::uint64_t address) {
  if (mapping.kind == MappingKind::SharedFile) return file_page(mapping, address);
  if (mapping.kind == MappingKind::SharedObject) {
    const SpaceContent& pages = object_pages(*image_->objects.at(static_cast<std::size_t>(mapping.object)));
    return pages.page((mapping.offset + (address - mapping.start)) / kPageBytes).value_or(kZeroPage);
  }
  if (auto page = private_pages_.page(address / kPageBytes)) return *page;
  return mapping.file >= 0 ? file_page(mapping, address) : PageBytes(kZeroPage);
}

std::optional<std::string> Comparison::compare_page(const Snapshot::Page& page) {
  const image::MappingT* mapping = mapping_at(page.address);
  if (mapping == nullptr) return std::nullopt;  // the scratch mapping; compare_mappings has seen all others
  // The file goes on changing after the program does.
  if (mapping->kind == MappingKind::SharedFile || is_ring(*mapping)) return std::nullopt;
  return compare_bytes("page", page.address, content_of(*mapping, page.address), snapshot_.bytes(page));
}

// Pages of the version that the program did not have of its own: they must be what it found there all the
// same.
std::optional<std::string> Comparison::compare_absent() {
  auto next = snapshot_.pages().begin();
  for (const store::PageRun& run : private_pages_.runs()) {
    for (std::uint64_t number = run.first_page; number < run.first_page + run.page_count; ++number) {
      const std::uint64_t address = number * kPageBytes;
      while (next != snapshot_.pages().end() && next->address < address) ++next;
      if (next != snapshot_.pages().end() && next->address == address) continue;
      if (snapshot_.is_unknown(address)) continue;
      const image::MappingT* mapping = mapping_at(address);
      if (mapping == nullptr)
        return fmt::format("the version has a page at {:x}, where nothing is mapped", address);
      const PageBytes should_be = mapping->file >= 0 ? file_page(*mapping, address) : PageBytes(kZeroPage);
      if (auto found = compare_bytes("page that the program does not have", address,
                                     *private_pages_.page(number), should_be))
        return found;
    }
  }
  return std::nullopt;
}

std::optional<std::string> Comparison::compare_bytes(const char* what, std::uint64_t address, PageBytes is,
                                                     PageBytes should_be) {
  ++totals_.pages_compared;
  if (std::ranges::equal(is, should_be)) return std::nullopt;
  std::size_t wrong = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < kPageBytes; ++i) {
    const bool excused = std::ranges::any_of(written_by_kernel_, [at = address + i](const Stretch& stretch) {
      return at >= stretch.start && at < stretch.end;
    });
    if (is[i] != should_be[i] && !excused && wrong++ == 0) first = i;
  }
  if (wrong == 0) return std::nullopt;
  const image::MappingT* mapping = mapping_at(address);
  return fmt::format(
      "{} at {:x} of {}: {} bytes differ, the first is byte {}: {:02x} in the version, {:02x} in the program",
      what, address, mapping == nullptr ? "nothing" : text_of(*mapping), wrong, first,
      std::to_integer<unsigned>(is[first]), std::to_integer<unsigned>(should_be[first]));
}

}  // namespace

std::optional<std::string> difference(const Snapshot& snapshot, const store::CheckpointReader& version,
                                      CheckTotals& totals) {
  return Comparison(snapshot, version, totals).run();
}

}  // namespace ckpt::fuzz
