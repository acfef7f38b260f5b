#include "engine/restore/foreign_vdso.h"

#include <fmt/format.h>
#include <gelf.h>
#include <libelf.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "engine/capture/host.h"
#include "engine/restore/arch/x86_64/far_jump.h"
#include "engine/tracee/arch/x86_64/register_image.h"

namespace ckpt::engine {
namespace {

struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};

struct Function {
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;
};
using Functions = std::map<std::string, Function>;

void add_functions(Elf* elf, Elf_Scn* section, const GElf_Shdr& header, std::uint64_t limit,
                   Functions& found) {
  Elf_Data* data = elf_getdata(section, nullptr);
  if (data == nullptr || header.sh_entsize == 0) return;
  for (std::size_t i = 0; i < header.sh_size / header.sh_entsize; ++i) {
    GElf_Sym symbol;
    if (gelf_getsym(data, static_cast<int>(i), &symbol) == nullptr) return;
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    bool inside = symbol.st_value < limit && symbol.st_size <= limit - symbol.st_value;
    if (name == nullptr || GELF_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF ||
        !inside)
      continue;
    found[name] = {.offset = symbol.st_value, .size_bytes = symbol.st_size};
  }
}

// A vDSO is linked to address 0, and is in memory as in a file.
Functions functions_of(std::span<const std::byte> vdso) {
  Functions found;
  if (elf_version(EV_CURRENT) == EV_NONE) return found;
  std::vector<std::byte> content(vdso.begin(), vdso.end());  // libelf wants to be able to write
  std::unique_ptr<Elf, ElfCloser> elf(elf_memory(reinterpret_cast<char*>(content.data()), content.size()));
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF) return found;
  for (Elf_Scn* section = elf_nextscn(elf.get(), nullptr); section != nullptr;
       section = elf_nextscn(elf.get(), section)) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) != nullptr && header.sh_type == SHT_DYNSYM)
      add_functions(elf.get(), section, header, vdso.size(), found);
  }
  return found;
}

bool keeps_its_state(std::string_view name) { return name.find("getrandom") != std::string_view::npos; }

}  // namespace

bool has_foreign_vdso(const image::HostT& host) {
  return vdso_digest() != VdsoDigest{host.vdso_digest_low, host.vdso_digest_high};
}

void check_foreign_vdso(const image::HostT& host, const image::ProcessT& process) {
  if (host.vdso.empty()) {
    throw Error(fmt::format(
        "the checkpoint was made under another kernel ({}), and does not hold its vDSO; recover it there",
        host.kernel));
  }
  for (const auto& mapping : process.mappings) {
    if (mapping->kind != image::MappingKind::Vdso) continue;
    if (mapping->end - mapping->start != host.vdso.size())
      throw Error("the vDSO in the checkpoint is of another size than its mapping; recover another version");
    for (const auto& thread : process.threads) {
      std::uint64_t at = arch::from_image(thread->registers).rip;
      if (at < mapping->start || at >= mapping->end) continue;
      throw Error(fmt::format(
          "thread {} was inside the vDSO of another kernel ({}) at this checkpoint; recover another "
          "version, or this one under that kernel",
          thread->tid, host.kernel));
    }
  }
}

std::vector<std::byte> redirect_vdso(std::span<const std::byte> old, std::span<const std::byte> here,
                                     std::uint64_t address) {
  std::vector<std::byte> redirected(old.begin(), old.end());
  Functions targets = functions_of(here);
  Functions functions = functions_of(old);
  if (functions.empty()) throw Error("the vDSO in the checkpoint is damaged; recover another version");
  for (const auto& [name, function] : functions) {
    auto target = targets.find(name);
    if (target == targets.end() || keeps_its_state(name)) continue;
    if (function.size_bytes < arch::kFarJumpBytes)
      throw Error(
          fmt::format("{} in the vDSO of the checkpoint is too short to lead elsewhere; recover it under the "
                      "kernel that it was made with",
                      name));
    auto jump = arch::far_jump(address + target->second.offset);
    std::ranges::copy(jump, redirected.begin() + static_cast<std::ptrdiff_t>(function.offset));
  }
  return redirected;
}

}  // namespace ckpt::engine
