#include "engine/tracee/rseq_section.h"

#include <linux/rseq.h>
#include <sys/ptrace.h>

#include <array>
#include <span>

#include "base/error.h"
#include "engine/tracee/remote_memory.h"

namespace ckpt::engine {

std::optional<RseqArea> rseq_area_of(pid_t tid) {
  __ptrace_rseq_configuration configuration{};
  if (::ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(configuration), &configuration) < 0)
    return std::nullopt;
  if (configuration.rseq_abi_pointer == 0) return std::nullopt;
  return RseqArea{.start = RemoteAddr{configuration.rseq_abi_pointer},
                  .size_bytes = configuration.rseq_abi_size};
}

std::optional<RseqSection> rseq_section_of(pid_t pid, pid_t tid, std::uint64_t instruction) {
  std::optional<RseqArea> area = rseq_area_of(tid);
  if (!area) return std::nullopt;
  RemoteAddr pointer = area->start + offsetof(rseq, rseq_cs);
  try {
    std::uint64_t descriptor = 0;
    read_remote(pid, pointer, std::as_writable_bytes(std::span(&descriptor, 1)));
    if (descriptor == 0) return std::nullopt;
    rseq_cs section{};
    read_remote(pid, RemoteAddr{descriptor}, std::as_writable_bytes(std::span(&section, 1)));
    if (instruction - section.start_ip >= section.post_commit_offset) return std::nullopt;
    return RseqSection{.abort = RemoteAddr{section.abort_ip}, .pointer = pointer};
  } catch (const Error&) {
    return std::nullopt;  // the program unmapped it; the kernel would kill it for that, we need not
  }
}

}  // namespace ckpt::engine
