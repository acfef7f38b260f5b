#include "engine/capture/host.h"

#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstring>
#include <string>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/capture/clock_offsets.h"
#include "engine/capture/memory_map.h"
#include "engine/capture/processor.h"

namespace ckpt::engine {
namespace {

std::int64_t clock_ns(clockid_t clock) {
  timespec time{};
  if (::clock_gettime(clock, &time) != 0) throw_errno("read clock");
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

std::span<const std::byte> find_vdso() {
  for (const MapEntry& entry : read_memory_map(::getpid())) {
    if (entry.path != "[vdso]") continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): from maps
    return {reinterpret_cast<const std::byte*>(entry.start), entry.size_bytes()};
  }
  return {};
}

}  // namespace

std::string boot_id() {
  std::string id = read_file("/proc/sys/kernel/random/boot_id");
  std::erase(id, '\n');
  return id;
}

std::unique_ptr<image::HostT> describe_host(const std::string& cpu_baseline) {
  auto host = std::make_unique<image::HostT>();
  utsname names{};
  if (::uname(&names) != 0) throw_errno("uname");
  host->name = names.nodename;
  host->kernel = fmt::format("{} {}", names.release, names.version);
  host->boot_id = boot_id();
  VdsoDigest digest = vdso_digest();
  host->vdso_digest_low = digest.low;
  host->vdso_digest_high = digest.high;
  std::span<const std::byte> vdso = vdso_here();
  host->vdso.resize(vdso.size());
  std::memcpy(host->vdso.data(), vdso.data(), vdso.size());
  host->instruction_sets = instruction_sets_here();
  host->cpu_baseline = cpu_baseline;
  return host;
}

std::unique_ptr<image::ClocksT> read_clocks(pid_t pid) {
  auto clocks = std::make_unique<image::ClocksT>();
  ClockOffsets theirs = clock_offsets_of(std::to_string(pid));
  ClockOffsets ours = clock_offsets_of("self");
  clocks->realtime_ns = clock_ns(CLOCK_REALTIME);
  clocks->monotonic_ns = clock_ns(CLOCK_MONOTONIC) + theirs.monotonic_ns - ours.monotonic_ns;
  clocks->boottime_ns = clock_ns(CLOCK_BOOTTIME) + theirs.boottime_ns - ours.boottime_ns;
  clocks->monotonic_offset_ns = theirs.monotonic_ns;
  clocks->boottime_offset_ns = theirs.boottime_ns;
  return clocks;
}

std::span<const std::byte> vdso_here() {
  static const std::span<const std::byte> vdso = find_vdso();
  return vdso;
}

VdsoDigest vdso_digest() {
  std::span<const std::byte> vdso = vdso_here();
  if (vdso.empty()) return {};
  static const XXH128_hash_t hash = XXH3_128bits(vdso.data(), vdso.size());
  return {hash.low64, hash.high64};
}

}  // namespace ckpt::engine
