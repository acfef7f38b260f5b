// Some mappings (io_uring) go where the kernel likes: an address cannot be asked for, and they cannot be
// moved to one. The kernel likes holes; so all but one are closed for a moment.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/resource/program_calls.h"

namespace ckpt::engine::resource {

struct AddressHole {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool operator==(const AddressHole&) const = default;
};

// What is to be closed, from the text of /proc/PID/maps: every hole of at least `size_bytes`, except the part
// from `wanted` on that long.
std::vector<AddressHole> holes_to_close(std::string_view maps, std::uint64_t wanted,
                                        std::uint64_t size_bytes);

// Until open(), a mapping of `size_bytes` fits nowhere in the program but at `wanted`. A program that is
// never opened again is not fit to run.
class OnlyHole {
 public:
  OnlyHole(ProgramCalls& program, std::uint64_t wanted, std::uint64_t size_bytes);

  void open();

 private:
  ProgramCalls& program_;
  std::vector<AddressHole> closed_;
};

}  // namespace ckpt::engine::resource
