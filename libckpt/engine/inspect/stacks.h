// The stacks of all threads, read out of a version; nothing is started.
//
// elfutils' libdwfl unwinds: it asks for words of the program's memory (ProgramMemory) and for the files that
// are mapped, takes unwinding tables (.eh_frame, .debug_frame) and symbols from those, and follows frame
// pointers where there are no tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "store/checkpoint_store.h"

namespace ckpt::engine {

struct StackFrame {
  std::uint64_t address = 0;
  std::string function;      // demangled; empty: not known
  std::uint64_t offset = 0;  // of the address in it
  std::string file;          // that is mapped there; "[vdso]"; empty: none, as code made at run time
  std::string source;        // "file.c:12", if there is debug information
};

struct ThreadStack {
  std::int32_t pid = 0;  // of its process
  std::int32_t tid = 0;  // as the program saw it
  std::string name;
  std::vector<StackFrame> frames;  // innermost first
  std::string broken_off;          // why there may be more frames; empty: that was the outermost
};

// Of all processes, the program first, in each the main thread first. Throws Error if the version is damaged.
std::vector<ThreadStack> read_stacks(const store::CheckpointReader& reader);

}  // namespace ckpt::engine
