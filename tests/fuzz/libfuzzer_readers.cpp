// A libFuzzer target; which reader it is about is decided when it is compiled (CKPT_FUZZ_TARGET).
//
//   CKPT_FUZZ_SEEDS=DIR  inputs that are taken are written there first
#include <fcntl.h>

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/file_io.h"
#include "fuzz/reader_targets.h"

namespace {

using ckpt::fuzz::Bytes;
using ckpt::fuzz::ReaderTarget;

const ReaderTarget& this_target() {
  for (const ReaderTarget& each : ckpt::fuzz::reader_targets()) {
    if (each.name == CKPT_FUZZ_TARGET) return each;
  }
  std::abort();
}

void write_seeds(const std::string& directory) {
  std::size_t number = 0;
  for (const Bytes& seed : this_target().seeds()) {
    std::string path = directory + "/seed" + std::to_string(number++);
    ckpt::UniqueFd file = ckpt::open_or_throw(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ckpt::pwrite_all(file.get(), seed, 0, path);
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*count*/, char*** /*arguments*/) {
  if (const char* directory = std::getenv("CKPT_FUZZ_SEEDS")) write_seeds(directory);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ReaderTarget& target = this_target();
  auto bytes = std::as_bytes(std::span(data, size));
  target.run(Bytes(bytes.begin(), bytes.end()));  // a Finding ends it
  return 0;
}
