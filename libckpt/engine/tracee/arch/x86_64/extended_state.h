// The XSAVE area of a stopped thread (NT_X86_XSTATE, the processor's standard, uncompacted format).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

namespace ckpt::engine::arch {

std::vector<std::uint8_t> save_extended_state(pid_t tid);

// Components that the area was saved with (XCR0), from its software-reserved bytes 464..471.
std::uint64_t extended_state_components(std::span<const std::uint8_t> area);

// Throws Error if this machine lacks a component that the area contains; with `force` that one is left out.
void restore_extended_state(pid_t tid, std::span<const std::uint8_t> area, bool force = false);

}  // namespace ckpt::engine::arch
