// What core files of this processor look like (fs/binfmt_elf.c, arch/x86/kernel/ptrace.c).
#pragma once

#include <elf.h>
#include <sys/procfs.h>

#include <cstddef>
#include <cstdint>

namespace ckpt::engine::arch {

inline constexpr std::uint16_t kElfMachine = EM_X86_64;
inline constexpr std::size_t kFloatingPointBytes = sizeof(elf_fpregset_t);  // the beginning of the xsave area
inline constexpr std::uint32_t kExtendedStateNote = NT_X86_XSTATE;

}  // namespace ckpt::engine::arch
