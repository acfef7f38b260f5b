// A version as an ELF core file, for debuggers: all threads with their registers, all memory.
//
// The layout is that of the kernel's own core files (elf(5), fs/binfmt_elf.c): one PT_NOTE with NT_PRSTATUS,
// NT_PRFPREG and NT_X86_XSTATE for each thread, NT_PRPSINFO, NT_AUXV and NT_FILE for the process, then a
// PT_LOAD for each mapping. Pages that a mapped file holds unchanged are left to the debugger, except where a
// mapping is partly changed: those of its pages come from the file as it is now.
#pragma once

#include <string>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct CoreFile {
  std::size_t threads = 0;
  std::uint64_t bytes_written = 0;  // the file is sparse
};

// Creates `path` (0600; it must not exist). On failure the file is removed again, and Error is thrown.
CoreFile write_core_file(const store::CheckpointReader& reader, const std::string& path);

}  // namespace ckpt::engine
