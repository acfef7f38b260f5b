// A program that comes back under another kernel than it was checkpointed under, or on another machine: its
// libraries remember where the functions of the old vDSO are. It stays where it was, as plain memory whose
// functions jump to those of this kernel's vDSO, which lies elsewhere.
//
// What this kernel does not have stays as it is, and so does getrandom(), since its state in the program's
// memory is laid out for the old code. They find their data pages zero, which to them means a clock that
// cannot be read and random numbers that are not ready: they make the system call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "image_generated.h"

namespace ckpt::engine {

// Whether the version was made under a kernel whose vDSO differs from this one's.
bool has_foreign_vdso(const image::HostT& host);

// Throws Error if this process cannot go on with its old vDSO: the version does not have its content, or a
// thread was inside of it.
void check_foreign_vdso(const image::HostT& host, const image::ProcessT& process);

// What is to be at the place of `old`, when `here` is at `address` in the process. Throws Error for an `old`
// that is not a vDSO.
std::vector<std::byte> redirect_vdso(std::span<const std::byte> old, std::span<const std::byte> here,
                                     std::uint64_t address);

}  // namespace ckpt::engine
