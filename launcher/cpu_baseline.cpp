#include "launcher/cpu_baseline.h"

#include <fmt/format.h>

#include <map>
#include <string_view>

#include "base/error.h"
#include "launcher/choices.h"

namespace ckpt::launcher {
namespace {

constexpr std::string_view kVariable = "GLIBC_TUNABLES";
constexpr std::string_view kTunable = "glibc.cpu.hwcaps=";

// All that glibc 2.36 chooses by and that is not in the level (sysdeps/x86/cpu-tunables.c has the names that
// it understands; it passes over others). RTM and XSAVEC are in none. Without OSXSAVE glibc takes back
// whatever needs registers of AVX, by whichever name; AVX_Fast_Unaligned_Load is a choice of its own.
const std::map<std::string, std::string>& forbidden() {
  static const std::map<std::string, std::string> kForbidden{
      {"x86-64-v3", "-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD,-AVX512ER,-AVX512PF,-RTM,-XSAVEC"},
      {"x86-64-v2",
       "-OSXSAVE,-XSAVE,-XSAVEC,-AVX,-AVX2,-FMA,-BMI1,-BMI2,-LZCNT,-MOVBE,-RTM,-AVX512F,-AVX512VL,-AVX512BW,"
       "-AVX512DQ,-AVX512CD,-AVX512ER,-AVX512PF,-AVX_Fast_Unaligned_Load"}};
  return kForbidden;
}

}  // namespace

std::string parse_cpu_baseline(const std::string& text) {
  choose<std::string>("--cpu-baseline", text, forbidden());
  return text;
}

std::string tunables_for(const std::string& cpu_baseline, const char* present) {
  std::string before = present != nullptr ? present : "";
  if (before.find(kTunable) != std::string::npos) {
    throw Error(fmt::format("{} sets glibc.cpu.hwcaps already, which --cpu-baseline needs; unset one of them",
                            kVariable));
  }
  return fmt::format("{}{}{}{}", before, before.empty() ? "" : ":", kTunable, forbidden().at(cpu_baseline));
}

}  // namespace ckpt::launcher
