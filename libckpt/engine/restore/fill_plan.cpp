#include "engine/restore/fill_plan.h"

#include <sys/mman.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_io.h"
#include "base/remote_addr.h"

namespace ckpt::engine {
namespace {

bool overlaps(const image::MappingT& mapping, std::uint64_t start, std::uint64_t end) {
  return mapping.start < end && start < mapping.end;
}

bool is_wiped_on_fork(const image::MappingT& mapping) {
  return std::ranges::count(mapping.advice, std::uint32_t{MADV_WIPEONFORK}) != 0;
}

bool may_come_later(const image::MappingT& mapping, const image::MemoryLayoutT& layout) {
  bool shown = overlaps(mapping, layout.arg_start, layout.arg_end) ||
               overlaps(mapping, layout.env_start, layout.env_end);
  return mapping.kind == image::MappingKind::Anonymous && !mapping.locked && !mapping.grows_down &&
         !is_wiped_on_fork(mapping) && !shown;
}

// The kernel's setting is the word in brackets.
bool huge_pages_everywhere() {
  try {
    return read_file("/sys/kernel/mm/transparent_hugepage/enabled").find("[always]") != std::string::npos;
  } catch (const Error&) {
    return false;  // a kernel without them
  }
}

bool may_have_huge_pages(const image::MappingT& mapping, bool everywhere) {
  auto advised = [&](int advice) {
    return std::ranges::count(mapping.advice, static_cast<std::uint32_t>(advice)) != 0;
  };
  return advised(MADV_HUGEPAGE) || (everywhere && !advised(MADV_NOHUGEPAGE));
}

}  // namespace

std::vector<store::PageRun> without_wiped(const image::ProcessT& process,
                                          const std::vector<store::PageRun>& runs) {
  std::vector<AddressSpan> wiped;  // in pages
  for (const auto& mapping : process.mappings) {
    if (is_wiped_on_fork(*mapping)) wiped.push_back({mapping->start / kPageSize, mapping->end / kPageSize});
  }
  std::vector<store::PageRun> kept;
  for (const store::PageRun& run : runs) {
    std::uint64_t next = run.first_page;
    std::uint64_t end = run.first_page + run.page_count;
    for (const AddressSpan& span : wiped) {
      std::uint64_t first = std::max(next, span.start);
      if (first >= std::min(end, span.end)) continue;
      if (first > next) kept.push_back({.first_page = next, .page_count = first - next});
      next = std::min(end, span.end);
    }
    if (next < end) kept.push_back({.first_page = next, .page_count = end - next});
  }
  return kept;
}

FillPlan plan_fill(const image::ProcessT& process, const std::vector<store::PageRun>& runs, FillTime time) {
  FillPlan plan;
  bool everywhere = time == FillTime::kNow && huge_pages_everywhere();
  auto run = runs.begin();
  std::uint64_t done = 0;  // pages of *run
  for (const auto& mapping : process.mappings) {
    bool later = may_come_later(*mapping, *process.layout) &&
                 !(time == FillTime::kNow && may_have_huge_pages(*mapping, everywhere));
    bool watched = false;
    std::uint64_t start = mapping->start / kPageSize;
    std::uint64_t end = mapping->end / kPageSize;
    while (run != runs.end() && run->first_page + done < end) {
      std::uint64_t first = run->first_page + done;
      bool inside = first >= start;
      std::uint64_t count = std::min(run->page_count - done, (inside ? end : start) - first);
      if (later && inside) {
        plan.later.add({.page = first, .source = first, .page_count = count});
        watched = true;
      } else {
        plan.now.push_back({.first_page = first, .page_count = count});
      }
      done += count;
      if (done < run->page_count) continue;
      ++run;
      done = 0;
    }
    if (watched) plan.watched.push_back({mapping->start, mapping->end});
  }
  for (; run != runs.end(); ++run, done = 0)
    plan.now.push_back({.first_page = run->first_page + done, .page_count = run->page_count - done});
  return plan;
}

}  // namespace ckpt::engine
