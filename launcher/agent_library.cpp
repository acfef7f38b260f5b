#include "launcher/agent_library.h"

#include <unistd.h>

#include <filesystem>
#include <string_view>

#include "base/file_io.h"
#include "base/takes_preload.h"

namespace ckpt::launcher {
namespace {

constexpr std::string_view kLibrary = "libckpt.so";

// From the build tree (build/PRESET/bin, build/PRESET/lib) and from an installation (PREFIX/bin,
// PREFIX/lib...).
std::string find_library() {
  std::error_code error;
  std::filesystem::path base = std::filesystem::path(read_link("/proc/self/exe")).parent_path().parent_path();
  for (const char* folder : {CKPT_LIBRARY_DIRECTORY, "lib"}) {
    std::filesystem::path candidate = base / folder / kLibrary;
    if (std::filesystem::exists(candidate, error)) return candidate.string();
  }
  return {};
}

}  // namespace

std::string preload_for(const std::string& program, const char* present) {
  std::string library = find_library();
  bool survives = library.find_first_of(" :$") == std::string::npos;
  if (library.empty() || !survives || ::access(library.c_str(), R_OK) != 0) return {};
  if (!takes_preload(program.c_str())) return {};
  return present != nullptr && *present != '\0' ? std::string(present) + ":" + library : library;
}

}  // namespace ckpt::launcher
