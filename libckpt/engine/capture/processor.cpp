#include "engine/capture/processor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/error.h"

namespace ckpt::engine {
namespace {

// Names as in arch/x86/include/asm/cpufeatures.h: what instructions of user programs need. Sorted.
constexpr std::array kInstructionSets = std::to_array<std::string_view>({
    "3dnow",
    "3dnowext",
    "3dnowprefetch",
    "abm",
    "adx",
    "aes",
    "amx_bf16",
    "amx_complex",
    "amx_fp16",
    "amx_int8",
    "amx_tile",
    "apx",
    "avx",
    "avx10",
    "avx2",
    "avx512_4fmaps",
    "avx512_4vnniw",
    "avx512_bf16",
    "avx512_bitalg",
    "avx512_fp16",
    "avx512_vbmi2",
    "avx512_vnni",
    "avx512_vp2intersect",
    "avx512_vpopcntdq",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512er",
    "avx512f",
    "avx512ifma",
    "avx512pf",
    "avx512vbmi",
    "avx512vl",
    "avx_ifma",
    "avx_ne_convert",
    "avx_vnni",
    "avx_vnni_int16",
    "avx_vnni_int8",
    "bmi1",
    "bmi2",
    "cldemote",
    "clflush",
    "clflushopt",
    "clwb",
    "clzero",
    "cmov",
    "cmpccxadd",
    "cx16",
    "cx8",
    "enqcmd",
    "f16c",
    "fma",
    "fma4",
    "fpu",
    "fsgsbase",
    "fxsr",
    "fxsr_opt",
    "gfni",
    "lahf_lm",
    "lwp",
    "mmx",
    "mmxext",
    "monitorx",
    "movbe",
    "movdir64b",
    "movdiri",
    "ospke",
    "pclmulqdq",
    "pni",
    "popcnt",
    "prefetchi",
    "prefetchiti",
    "prefetchw",
    "prefetchwt1",
    "ptwrite",
    "rdpid",
    "rdpru",
    "rdrand",
    "rdseed",
    "rdtscp",
    "rtm",
    "serialize",
    "sha512",
    "sha_ni",
    "sm3",
    "sm4",
    "sse",
    "sse2",
    "sse4_1",
    "sse4_2",
    "sse4a",
    "ssse3",
    "syscall",
    "tbm",
    "tsc",
    "tsxldtrk",
    "user_shstk",
    "vaes",
    "vpclmulqdq",
    "waitpkg",
    "xgetbv1",
    "xop",
    "xsave",
    "xsavec",
    "xsaveopt",
});
static_assert(std::ranges::is_sorted(kInstructionSets));

// Of the first processor; they are all alike.
std::string flags_here() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("flags\t")) return line.substr(std::min(line.size(), line.find(':') + 1));
  }
  return {};
}

}  // namespace

std::vector<std::string> instruction_sets(std::string_view flags) {
  std::istringstream words{std::string(flags)};
  std::vector<std::string> found;
  for (std::string word; words >> word;) {
    if (std::ranges::binary_search(kInstructionSets, word)) found.push_back(word);
  }
  std::ranges::sort(found);
  return found;
}

const std::vector<std::string>& instruction_sets_here() {
  static const std::vector<std::string> kHere = instruction_sets(flags_here());
  return kHere;
}

void check_processor(const image::HostT& host, bool force, std::vector<std::string>& notes) {
  std::vector<std::string> recorded = host.instruction_sets;
  std::ranges::sort(recorded);
  std::vector<std::string> missing;
  std::ranges::set_difference(recorded, instruction_sets_here(), std::back_inserter(missing));
  if (missing.empty()) return;
  std::string lacks = fmt::format("this processor lacks {}, which the machine of the checkpoint ({}) has",
                                  fmt::join(missing, ", "), host.name);
  if (force) {
    notes.push_back(fmt::format("{}; a program that uses it will be ended by SIGILL", lacks));
    return;
  }
  std::string limited =
      host.cpu_baseline.empty()
          ? ""
          : fmt::format(" (its libc was limited to {}, but it may have asked itself)", host.cpu_baseline);
  throw Error(
      fmt::format("{}{}; recover it on a machine like that, or try with --force-cpu", lacks, limited));
}

}  // namespace ckpt::engine
