#include "engine/resource/only_hole.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/fdinfo_lines.h"
#include "engine/resource/finishing.h"

namespace ckpt::engine::resource {
namespace {

constexpr std::uint64_t kLowest = 1 << 16;  // vm.mmap_min_addr, below which the kernel chooses nothing
constexpr std::uint64_t kHighest = 0x7ffffffff000;

}  // namespace

std::vector<AddressHole> holes_to_close(std::string_view maps, std::uint64_t wanted,
                                        std::uint64_t size_bytes) {
  std::vector<AddressHole> holes;
  std::uint64_t at = kLowest;
  auto add = [&](std::uint64_t start, std::uint64_t end, std::uint64_t least) {
    if (end > start && end - start >= least) holes.push_back({start, end});
  };
  // What is left beside the wanted part would make it larger, however small it is.
  auto add_around_wanted = [&](std::uint64_t start, std::uint64_t end) {
    if (wanted < start || wanted >= end) return add(start, end, size_bytes);
    add(start, wanted, 1);
    add(std::min(wanted + size_bytes, end), end, 1);
  };
  for_each_line(maps, "", [&](std::string_view line) {
    std::size_t dash = line.find('-');
    auto start = parse_unsigned(line.substr(0, dash), 16);
    auto end = parse_unsigned(line.substr(dash + 1, line.find(' ') - dash - 1), 16);
    if (!start || !end) throw Error(fmt::format("a line of maps is not understood: {}", line));
    if (*start > at) add_around_wanted(at, std::min(*start, kHighest));
    at = std::max(at, *end);
  });
  if (at < kHighest) add_around_wanted(at, kHighest);
  return holes;
}

// One that cannot be closed may still not be chosen: where the mapping goes is checked by whoever makes it.
OnlyHole::OnlyHole(ProgramCalls& program, std::uint64_t wanted, std::uint64_t size_bytes)
    : program_(program) {
  constexpr std::uint64_t kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  std::string maps = read_file(fmt::format("/proc/{}/maps", program.pid()));
  for (const AddressHole& hole : holes_to_close(maps, wanted, size_bytes)) {
    std::int64_t mapped =
        program_.call(SYS_mmap, {hole.start, hole.end - hole.start, PROT_NONE, kFlags, ~0ULL, 0});
    if (mapped == static_cast<std::int64_t>(hole.start)) closed_.push_back(hole);
  }
}

void OnlyHole::open() {
  for (const AddressHole& hole : closed_)
    call_or_throw(program_, "open a hole again", SYS_munmap, {hole.start, hole.end - hole.start});
  closed_.clear();
}

}  // namespace ckpt::engine::resource
