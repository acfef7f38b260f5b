#include "vmheap/tools.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>

#include "base/error.h"
#include "base/file_io.h"
#include "heap/line_store.h"
#include "heap/live_statistics.h"

namespace ckpt::vmheap {
namespace {

constexpr std::uint64_t kHeaderBytes = 4096;
static_assert(kMostImageBytes <= kHeaderBytes);
constexpr std::uint64_t kPartPages = 1024;

using store::kPageBytes;

std::unique_ptr<store::Application> application_of(const std::string& directory, const std::string& name) {
  return store::Store::open(directory, false).application(name);
}

using PartVisitor = std::function<void(std::uint64_t first_page, std::span<const std::byte> bytes)>;

void visit_pages(const store::CheckpointReader& reader, const PartVisitor& visit) {
  std::vector<std::byte> buffer(kPartPages * kPageBytes);
  for (const store::PageRun& run : reader.runs(kHeapSpace)) {
    for (std::uint64_t done = 0; done < run.page_count; done += kPartPages) {
      store::PageRun part{.first_page = run.first_page + done,
                          .page_count = std::min(kPartPages, run.page_count - done)};
      std::span<std::byte> bytes = std::span(buffer).first(part.page_count * kPageBytes);
      reader.read(kHeapSpace, part, bytes);
      visit(part.first_page, bytes);
    }
  }
}

}  // namespace

HeapSummary summarize(const std::string& directory, const std::string& name) {
  auto lines = LineStore::open({.directory = directory, .name = name}, Sharing::kReader);
  HeapGeometry geometry = lines->geometry();
  HeapSummary summary{.base = geometry.base,
                      .size_bytes = geometry.size,
                      .regions = geometry.regions,
                      .version = lines->version(),
                      .versions = lines->versions(),
                      .in_use = {}};
  for (const HeapVersion& version : summary.versions) summary.disk_bytes += version.disk_bytes;
  if (auto lock = lines->lock_identity()) summary.in_use = find_live_statistics(*lock);
  for (const store::PageRun& run : lines->application().open(lines->version())->runs(kHeapSpace))
    summary.content_bytes += run.page_count * kPageBytes;
  return summary;
}

HeapVerification verify(const std::string& directory, const std::string& name) {
  std::unique_ptr<store::Application> application = application_of(directory, name);
  store::VerifyReport report = application->verify();
  HeapVerification result{.sound = {}, .damaged = {}, .pages = report.pages};
  for (const store::VerifyReport::Damage& damage : report.damaged)
    result.damaged.push_back({.version = damage.version, .cause = damage.cause});
  for (store::Version version : report.sound) {
    try {
      parse_geometry(application->open(version)->image(), fmt::format("version {}", version));
      result.sound.push_back(version);
    } catch (const Error& error) {
      result.damaged.push_back({.version = version, .cause = error.what()});
    }
  }
  return result;
}

std::uint64_t roll_back(const std::string& directory, std::uint64_t version, const std::string& name) {
  return LineStore::open({.directory = directory, .name = name}, Sharing::kWriter, version)->commit();
}

void retain_checkpoint_versions(const std::string& directory, const std::string& name,
                                const std::string& application, const std::set<std::uint64_t>& needed) {
  StoreLocation location{.directory = directory, .name = name};
  std::unique_ptr<LineStore> lines;
  bool is_open = false;
  try {
    lines = LineStore::open(location, Sharing::kWriter);
  } catch (const Error& error) {
    if (error.code() != EBUSY) throw;
    is_open = true;
    lines = LineStore::open(location, Sharing::kReader);
  }
  std::vector<std::uint64_t> gone;
  for (const HeapVersion& version : lines->versions()) {
    if (version.of_checkpoint && version.application == application) gone.push_back(version.version);
  }
  if (is_open && !gone.empty()) gone.pop_back();
  std::erase_if(gone, [&needed](std::uint64_t version) { return needed.contains(version); });
  for (std::uint64_t version : gone) lines->application().remove(version);
}

void export_heap(const std::string& directory, const std::string& file, const std::string& name) {
  auto lines = LineStore::open({.directory = directory, .name = name}, Sharing::kReader);
  UniqueFd out = open_or_throw(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
  std::vector<std::byte> header(kHeaderBytes);
  std::ranges::copy(image_of(lines->geometry()), header.begin());
  pwrite_all(out.get(), header, 0, file);
  visit_pages(*lines->application().open(lines->version()),
              [&](std::uint64_t first_page, std::span<const std::byte> bytes) {
                pwrite_all(out.get(), bytes, kHeaderBytes + first_page * kPageBytes, file);
              });
  auto size = static_cast<off_t>(kHeaderBytes + lines->geometry().size);
  if (::ftruncate(out.get(), size) != 0 || ::fsync(out.get()) != 0)
    throw_errno(fmt::format("write {}", file));
}

void import_heap(const std::string& directory, const std::string& file, const std::string& name) {
  UniqueFd in = open_or_throw(file, O_RDONLY);
  std::vector<std::byte> header(kHeaderBytes);
  pread_exactly(in.get(), header, 0, file);
  HeapGeometry geometry = parse_geometry(header, file);
  auto lines = LineStore::create({.directory = directory, .name = name}, geometry);
  std::vector<std::byte> buffer(kPartPages * kPageBytes);
  std::uint64_t end = kHeaderBytes + geometry.size;
  for (std::uint64_t at = kHeaderBytes; at < end;) {
    // Holes are skipped; ENXIO: there is nothing but a hole left.
    off_t data = ::lseek(in.get(), static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;
    if (data < 0) throw_errno(fmt::format("read {}", file));
    at = std::max(at, static_cast<std::uint64_t>(data) / kPageBytes * kPageBytes);
    std::span<std::byte> part = std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end - at));
    pread_exactly(in.get(), part, at, file);
    lines->put((at - kHeaderBytes) / kPageBytes, part);
    at += part.size();
  }
  lines->commit();
}

void remove_heap(const std::string& directory, const std::string& name) {
  UniqueFd lock = lock_for_writing(*application_of(directory, name));
  store::Store::open(directory, false).remove_application(name);
}

void tag(const std::string& directory, std::uint64_t version, const std::string& label,
         const std::string& name) {
  application_of(directory, name)->tag(version, label);
}

void untag(const std::string& directory, const std::string& label, const std::string& name) {
  application_of(directory, name)->untag(label);
}

std::uint64_t compact(const std::string& directory, const std::string& name) {
  auto lines = LineStore::open({.directory = directory, .name = name}, Sharing::kWriter);
  store::Application& application = lines->application();
  std::vector<HeapVersion> before = lines->versions();
  auto reader = application.open(lines->version());
  HeapGeometry geometry = lines->geometry();
  lines->go_to(0);
  lines->set_geometry(geometry);
  visit_pages(*reader, [&](std::uint64_t first_page, std::span<const std::byte> bytes) {
    lines->put(first_page, bytes);
  });
  std::uint64_t version = lines->commit();
  for (const HeapVersion& old : before) {
    if (old.tags.empty() && !old.of_checkpoint) application.remove(old.version);
  }
  return version;
}

}  // namespace ckpt::vmheap
