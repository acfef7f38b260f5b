#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "image_generated.h"

namespace ckpt::engine {

// Differs for every start of a kernel.
std::string boot_id();

// This machine, as far as a checkpoint depends on it.
// `cpu_baseline`: what the program's libc was limited to.
std::unique_ptr<image::HostT> describe_host(const std::string& cpu_baseline);

// The clocks as process `pid` sees them: its time namespace may shift monotonic and boot time.
std::unique_ptr<image::ClocksT> read_clocks(pid_t pid);

// The vDSO that processes of this kernel get; empty if there is none. Valid for ever.
std::span<const std::byte> vdso_here();

// XXH3-128 digest of the vDSO that processes of this kernel get.
struct VdsoDigest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  bool operator==(const VdsoDigest&) const = default;
};
VdsoDigest vdso_digest();

}  // namespace ckpt::engine
