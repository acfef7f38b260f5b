#include "engine/inspect/stacks.h"

#include <cxxabi.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/image/image_file.h"
#include "engine/inspect/arch/x86_64/frame_registers.h"
#include "engine/inspect/program_memory.h"
#include "engine/tracee/arch/x86_64/register_image.h"

namespace ckpt::engine {
namespace {

constexpr std::size_t kMostFrames = 10'000;
constexpr const char* kVdso = "[vdso]";

struct DwflCloser {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};
struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};

std::string why_not() {
  const char* message = dwfl_errmsg(-1);
  return message != nullptr ? message : "unknown reason";
}

// "clock_nanosleep@GLIBC_2.2.5" is the version of a symbol.
std::string demangled(const char* name) {
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                              std::free);
  if (status == 0) return text.get();
  std::string_view plain(name);
  return std::string(plain.substr(0, plain.find('@')));
}

// What libdwfl calls back. It is C, so an exception must wait until the call of libdwfl is over.
class Unwinder {
 public:
  Unwinder(const store::CheckpointReader& reader, const image::CheckpointT& checkpoint,
           const image::ProcessT& process)
      : checkpoint_(checkpoint), process_(process), memory_(reader, checkpoint, process) {
    callbacks_.find_elf = find_elf;
    callbacks_.find_debuginfo = dwfl_standard_find_debuginfo;
    dwfl_.reset(dwfl_begin(&callbacks_));
    if (!dwfl_) throw Error(fmt::format("prepare to unwind: {}", why_not()));
    report_modules();
    attach();
  }

  void add_to(std::vector<ThreadStack>& stacks) {
    for (const auto& thread : process_.threads) stacks.push_back(stack_of(*thread));
  }

 private:
  struct Module {
    Unwinder* unwinder = nullptr;
    std::string name;
    std::int32_t file = -1;  // -1: the vDSO
  };

  void report(std::uint64_t start, std::uint64_t end, std::string name, std::int32_t file) {
    Dwfl_Module* reported = dwfl_report_module(dwfl_.get(), name.c_str(), start, end);
    if (reported == nullptr) return;  // overlaps another one: a file that is mapped inside of itself
    void** place = nullptr;
    dwfl_module_info(reported, &place, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    modules_.push_back(
        std::make_unique<Module>(Module{.unwinder = this, .name = std::move(name), .file = file}));
    *place = modules_.back().get();
  }

  // Mappings of one file in a row are one module, with whatever lies between them.
  void report_modules() {
    dwfl_report_begin(dwfl_.get());
    const image::MappingT* first = nullptr;
    const image::MappingT* last = nullptr;
    auto end_module = [&] {
      if (first == nullptr) return;
      report(first->start, last->end, process_.mapped_files.at(static_cast<std::size_t>(first->file))->path,
             first->file);
      first = nullptr;
    };
    for (const auto& mapping : process_.mappings) {
      if (mapping->kind == image::MappingKind::Vdso) report(mapping->start, mapping->end, kVdso, -1);
      if (mapping->file < 0) continue;
      if (first == nullptr || mapping->file != first->file || mapping->offset <= first->offset) {
        end_module();
        first = mapping.get();
      }
      last = mapping.get();
    }
    end_module();
    dwfl_report_end(dwfl_.get(), nullptr, nullptr);
  }

  // Any file for this processor tells libdwfl for which one to unwind.
  void attach() {
    static const Dwfl_Thread_Callbacks kThreadCallbacks{.next_thread = next_thread,
                                                        .get_thread = get_thread,
                                                        .memory_read = read_word,
                                                        .set_initial_registers = set_registers,
                                                        .detach = nullptr,
                                                        .thread_detach = nullptr};
    elf_version(EV_CURRENT);
    UniqueFd self = open_or_throw("/proc/self/exe", O_RDONLY);
    std::unique_ptr<Elf, ElfCloser> elf(elf_begin(self.get(), ELF_C_READ, nullptr));
    if (!elf || !dwfl_attach_state(dwfl_.get(), elf.get(), process_.pid, &kThreadCallbacks, this))
      throw Error(fmt::format("prepare to unwind: {}", why_not()));
  }

  ThreadStack stack_of(const image::ThreadT& thread) {
    ThreadStack stack{
        .pid = process_.pid, .tid = thread.tid, .name = thread.name, .frames = {}, .broken_off = {}};
    current_ = &stack;
    int result = dwfl_getthread_frames(dwfl_.get(), thread.tid, add_frame, this);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (result < 0) stack.broken_off = why_not();
    if (stack.frames.size() >= kMostFrames)
      stack.broken_off = fmt::format("more than {} frames", kMostFrames);
    return stack;
  }

  void describe(StackFrame& frame, bool is_activation) {
    // A return address may already belong to what comes after the call.
    Dwarf_Addr place = is_activation ? frame.address : frame.address - 1;
    Dwfl_Module* dwfl_module = dwfl_addrmodule(dwfl_.get(), place);
    if (dwfl_module == nullptr) return;
    frame.file = dwfl_module_info(dwfl_module, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    GElf_Off offset = 0;
    GElf_Sym symbol{};
    const char* name = dwfl_module_addrinfo(dwfl_module, place, &offset, &symbol, nullptr, nullptr, nullptr);
    if (name != nullptr) {
      frame.function = demangled(name);
      frame.offset = offset + (frame.address - place);
    }
    Dwfl_Line* line = dwfl_module_getsrc(dwfl_module, place);
    int number = 0;
    const char* source =
        line != nullptr ? dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr) : nullptr;
    if (source != nullptr)
      frame.source = fmt::format("{}:{}", std::filesystem::path(source).filename().string(), number);
  }

  template <typename Work>
  auto guarded(decltype(std::declval<Work>()()) when_failed, Work work) {
    try {
      return work();
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
      return when_failed;
    }
  }

  static int add_frame(Dwfl_Frame* state, void* argument) {
    auto& self = *static_cast<Unwinder*>(argument);
    Dwarf_Addr address = 0;
    bool is_activation = false;
    if (!dwfl_frame_pc(state, &address, &is_activation)) return DWARF_CB_ABORT;
    return self.guarded(int{DWARF_CB_ABORT}, [&] {
      StackFrame frame;
      frame.address = address;
      self.describe(frame, is_activation);
      self.current_->frames.push_back(std::move(frame));
      return self.current_->frames.size() < kMostFrames ? int{DWARF_CB_OK} : int{DWARF_CB_ABORT};
    });
  }

  static bool read_word(Dwfl* /*dwfl*/, Dwarf_Addr address, Dwarf_Word* result, void* argument) {
    auto& self = *static_cast<Unwinder*>(argument);
    return self.guarded(
        false, [&] { return self.memory_.read(address, std::as_writable_bytes(std::span(result, 1))); });
  }

  static pid_t next_thread(Dwfl* /*dwfl*/, void* argument, void** place) {
    const auto& threads = static_cast<Unwinder*>(argument)->process_.threads;
    auto next = threads.begin();
    if (*place != nullptr) {
      next = std::ranges::find(threads, static_cast<image::ThreadT*>(*place),
                               &std::unique_ptr<image::ThreadT>::get);
      ++next;
    }
    if (next == threads.end()) return 0;
    *place = next->get();
    return (*next)->tid;
  }

  static bool get_thread(Dwfl* /*dwfl*/, pid_t tid, void* argument, void** place) {
    for (const auto& thread : static_cast<Unwinder*>(argument)->process_.threads) {
      if (thread->tid == tid) *place = thread.get();
    }
    return *place != nullptr;
  }

  static bool set_registers(Dwfl_Thread* thread, void* place) {
    const auto& saved = *static_cast<const image::ThreadT*>(place);
    auto registers = arch::frame_registers(arch::from_image(saved.registers));
    return dwfl_thread_state_registers(thread, 0, registers.size(), registers.data());
  }

  static int find_elf(Dwfl_Module* /*module*/, void** place, const char* /*name*/, Dwarf_Addr /*base*/,
                      char** file_name, Elf** elf) {
    const auto& found = *static_cast<const Module*>(*place);
    Unwinder& self = *found.unwinder;
    return self.guarded(-1, [&] {
      if (found.file < 0) {
        *elf = self.vdso();
        return -1;
      }
      const std::string& path = self.memory_.path_of(found.file);
      int fd = path.empty() ? -1 : ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
      if (fd >= 0) *file_name = ::strdup(path.c_str());
      return fd;
    });
  }

  // As the version has it; libdwfl closes it. elf_memory() writes only to what it is told to change.
  Elf* vdso() const {
    const std::vector<std::uint8_t>& content = checkpoint_.host->vdso;
    if (content.empty()) return nullptr;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast)
    auto* image = const_cast<char*>(reinterpret_cast<const char*>(content.data()));
    return elf_memory(image, content.size());
  }

  const image::CheckpointT& checkpoint_;
  const image::ProcessT& process_;
  ProgramMemory memory_;
  Dwfl_Callbacks callbacks_{};
  std::vector<std::unique_ptr<Module>> modules_;
  ThreadStack* current_ = nullptr;
  std::exception_ptr failure_;
  std::unique_ptr<Dwfl, DwflCloser> dwfl_;  // the first to go: its callbacks use the others
};

}  // namespace

std::vector<ThreadStack> read_stacks(const store::CheckpointReader& reader) {
  std::unique_ptr<image::CheckpointT> checkpoint = unpack_image(reader.image());
  std::vector<ThreadStack> stacks;
  Unwinder(reader, *checkpoint, *checkpoint->process).add_to(stacks);
  for (const auto& relative : checkpoint->relatives) {
    if (!relative->ended) Unwinder(reader, *checkpoint, *relative).add_to(stacks);
  }
  return stacks;
}

}  // namespace ckpt::engine
