#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ckpt::engine {

// The freestanding executor (restorer/), read from its ELF file.
struct RestorerCode {
  std::string path;
  std::vector<std::byte> bytes;  // position independent, to be placed at a page boundary
  std::uint64_t entry_offset = 0;
};

// Looks for libexec/ckpt/ckpt-restorer beside the running program's bin directory. Throws Error if it is
// missing.
RestorerCode load_restorer();
// The same for a program in `directory`.
RestorerCode load_restorer_beside(const std::string& directory);

}  // namespace ckpt::engine
