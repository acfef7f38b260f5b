#include "engine/inspect/core_file.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/procfs.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "engine/image/image_file.h"
#include "engine/inspect/arch/x86_64/core_notes.h"

namespace ckpt::engine {
namespace {

using store::kPageBytes;

constexpr std::size_t kChunkPages = 256;
constexpr char kNoteName[] = "CORE";
constexpr char kLinuxNoteName[] = "LINUX";

std::size_t aligned(std::size_t size) { return (size + 3) / 4 * 4; }

class Notes {
 public:
  void add(std::string_view name, std::uint32_t type, std::span<const std::byte> content) {
    Elf64_Nhdr header{.n_namesz = static_cast<Elf64_Word>(name.size() + 1),
                      .n_descsz = static_cast<Elf64_Word>(content.size()),
                      .n_type = type};
    append(std::as_bytes(std::span(&header, 1)));
    append(std::as_bytes(std::span(name)));
    bytes_.resize(aligned(bytes_.size() + 1));
    append(content);
    bytes_.resize(aligned(bytes_.size()));
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  void append(std::span<const std::byte> content) {
    bytes_.insert(bytes_.end(), content.begin(), content.end());
  }

  std::vector<std::byte> bytes_;
};

void copy_text(std::string_view text, std::span<char> out) {
  std::memcpy(out.data(), text.data(), std::min(text.size(), out.size() - 1));
}

template <typename Value>
std::span<const std::byte> bytes_of(const Value& value) {
  return std::as_bytes(std::span(&value, 1));
}

void add_thread(const image::ProcessT& process, const image::ThreadT& thread, Notes& notes) {
  elf_prstatus status{};
  status.pr_pid = thread.tid;
  status.pr_pgrp = process.process_group;
  status.pr_sid = process.session;
  status.pr_sighold = thread.signal_mask;
  status.pr_fpvalid = thread.xsave.empty() ? 0 : 1;
  std::memcpy(&status.pr_reg, thread.registers.data(),
              std::min(sizeof status.pr_reg, thread.registers.size() * sizeof(std::uint64_t)));
  notes.add(kNoteName, NT_PRSTATUS, bytes_of(status));
  if (&thread == process.threads.front().get()) {
    elf_prpsinfo info{};
    info.pr_sname = 'S';
    info.pr_pid = process.pid;
    info.pr_pgrp = process.process_group;
    info.pr_sid = process.session;
    copy_text(thread.name, info.pr_fname);
    copy_text(process.executable, info.pr_psargs);
    notes.add(kNoteName, NT_PRPSINFO, bytes_of(info));
    if (process.layout != nullptr)
      notes.add(kNoteName, NT_AUXV, std::as_bytes(std::span(process.layout->auxv)));
  }
  std::span<const std::byte> area = std::as_bytes(std::span(thread.xsave));
  if (area.size() < arch::kFloatingPointBytes) return;
  notes.add(kNoteName, NT_PRFPREG, area.first(arch::kFloatingPointBytes));
  notes.add(kLinuxNoteName, arch::kExtendedStateNote, area);
}

// Which file is mapped where: count, page size, {start, end, offset in pages} of each, then all names.
void add_files(const image::ProcessT& process, Notes& notes) {
  std::vector<std::uint64_t> words{0, kPageBytes};
  std::string names;
  for (const auto& mapping : process.mappings) {
    if (mapping->file < 0) continue;
    ++words[0];
    words.insert(words.end(), {mapping->start, mapping->end, mapping->offset / kPageBytes});
    names += process.mapped_files.at(static_cast<std::size_t>(mapping->file))->path + '\0';
  }
  std::vector<std::byte> content(words.size() * sizeof(std::uint64_t) + names.size());
  std::memcpy(content.data(), words.data(), words.size() * sizeof(std::uint64_t));
  std::memcpy(content.data() + words.size() * sizeof(std::uint64_t), names.data(), names.size());
  notes.add(kNoteName, NT_FILE, content);
}

// A mapping, and which of its pages the version holds.
struct Load {
  const image::MappingT* mapping = nullptr;
  store::SpaceId space = 0;
  std::uint64_t first_page = 0;  // of the space, where the mapping begins
  std::vector<store::PageRun> runs = {};
  std::uint64_t file_bytes = 0;  // in the core file
  std::uint64_t offset = 0;
};

std::vector<store::PageRun> runs_within(const std::vector<store::PageRun>& runs, std::uint64_t first,
                                        std::uint64_t end) {
  std::vector<store::PageRun> found;
  auto run = std::ranges::upper_bound(runs, first, {}, [](const store::PageRun& candidate) {
    return candidate.first_page + candidate.page_count;
  });
  for (; run != runs.end() && run->first_page < end; ++run) {
    std::uint64_t begin = std::max(run->first_page, first);
    found.push_back({begin, std::min(run->first_page + run->page_count, end) - begin});
  }
  return found;
}

class CoreWriter {
 public:
  CoreWriter(const store::CheckpointReader& reader, const std::string& path)
      : reader_(reader),
        path_(path),
        checkpoint_(unpack_image(reader.image())),
        process_(*checkpoint_->process) {}

  CoreFile write() {
    fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd_) throw_errno(fmt::format("create {}", path_));
    try {
      plan();
      write_headers();
      for (const Load& load : loads_) write_memory(load);
      if (::ftruncate(fd_.get(), static_cast<off_t>(end_)) != 0) throw_errno(fmt::format("write {}", path_));
    } catch (...) {
      ::unlink(path_.c_str());
      throw;
    }
    return {.threads = process_.threads.size(), .bytes_written = written_};
  }

 private:
  void plan() {
    for (const auto& thread : process_.threads) add_thread(process_, *thread, notes_);
    add_files(process_, notes_);
    std::vector<store::PageRun> own = reader_.runs(process_.space);
    for (const auto& mapping : process_.mappings) add_load(*mapping, own);
    std::uint64_t at = sizeof(Elf64_Ehdr) + (loads_.size() + 1) * sizeof(Elf64_Phdr) + notes_.bytes().size();
    for (Load& load : loads_) {
      at = (at + kPageBytes - 1) / kPageBytes * kPageBytes;
      load.offset = at;
      at += load.file_bytes;
    }
    end_ = at;
  }

  void add_load(const image::MappingT& mapping, const std::vector<store::PageRun>& own) {
    if (mapping.kind == image::MappingKind::Vvar || mapping.kind == image::MappingKind::Vsyscall) return;
    Load load{.mapping = &mapping, .space = process_.space, .first_page = mapping.start / kPageBytes};
    std::uint64_t pages = (mapping.end - mapping.start) / kPageBytes;
    if (mapping.kind == image::MappingKind::SharedObject) {
      load.space = checkpoint_->objects.at(static_cast<std::size_t>(mapping.object))->space;
      load.first_page = mapping.offset / kPageBytes;
      load.runs = runs_within(reader_.runs(load.space), load.first_page, load.first_page + pages);
    } else {
      load.runs = runs_within(own, load.first_page, load.first_page + pages);
    }
    if (!load.runs.empty()) {
      const store::PageRun& last = load.runs.back();
      load.file_bytes = (last.first_page + last.page_count - load.first_page) * kPageBytes;
      if (mapping.file >= 0) load.file_bytes = mapping.end - mapping.start;
    }
    loads_.push_back(std::move(load));
  }

  void write_headers() {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_CORE;
    header.e_machine = arch::kElfMachine;
    header.e_version = EV_CURRENT;
    header.e_phoff = sizeof header;
    header.e_ehsize = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    if (loads_.size() + 1 >= PN_XNUM)
      throw Error(fmt::format("{} mappings are more than a core file can have", loads_.size()));
    header.e_phnum = static_cast<Elf64_Half>(loads_.size() + 1);
    std::vector<Elf64_Phdr> programs(1);
    programs[0].p_type = PT_NOTE;
    programs[0].p_offset = sizeof header + header.e_phnum * sizeof(Elf64_Phdr);
    programs[0].p_filesz = notes_.bytes().size();
    for (const Load& load : loads_) programs.push_back(program_header(load));
    put(std::as_bytes(std::span(&header, 1)), 0);
    put(std::as_bytes(std::span(programs)), sizeof header);
    put(notes_.bytes(), programs[0].p_offset);
  }

  static Elf64_Phdr program_header(const Load& load) {
    const image::MappingT& mapping = *load.mapping;
    Elf64_Word flags = 0;
    if ((mapping.protection & PROT_READ) != 0) flags |= PF_R;
    if ((mapping.protection & PROT_WRITE) != 0) flags |= PF_W;
    if ((mapping.protection & PROT_EXEC) != 0) flags |= PF_X;
    return {.p_type = PT_LOAD,
            .p_flags = flags,
            .p_offset = load.offset,
            .p_vaddr = mapping.start,
            .p_paddr = 0,
            .p_filesz = load.file_bytes,
            .p_memsz = mapping.end - mapping.start,
            .p_align = kPageBytes};
  }

  void write_memory(const Load& load) {
    if (!load.runs.empty() && load.mapping->file >= 0) copy_file(load);
    std::vector<std::byte> buffer(kChunkPages * kPageBytes);
    for (store::PageRun run : load.runs) {
      while (run.page_count > 0) {
        store::PageRun part{run.first_page, std::min<std::uint64_t>(run.page_count, kChunkPages)};
        std::span<std::byte> bytes = std::span(buffer).first(part.page_count * kPageBytes);
        reader_.read(load.space, part, bytes);
        put(bytes, load.offset + (part.first_page - load.first_page) * kPageBytes);
        run.first_page += part.page_count;
        run.page_count -= part.page_count;
      }
    }
  }

  // What the mapping has of its file; pages of its own are written over it. A file that is gone leaves
  // zeroes.
  void copy_file(const Load& load) {
    const image::MappingT& mapping = *load.mapping;
    UniqueFd file(::open(process_.mapped_files.at(static_cast<std::size_t>(mapping.file))->path.c_str(),
                         O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!file) return;
    std::vector<std::byte> buffer(kChunkPages * kPageBytes);
    for (std::uint64_t at = 0; at < load.file_bytes;) {
      std::size_t wanted = std::min<std::uint64_t>(buffer.size(), load.file_bytes - at);
      ssize_t got = ::pread(file.get(), buffer.data(), wanted, static_cast<off_t>(mapping.offset + at));
      if (got <= 0) return;
      put(std::span(buffer).first(static_cast<std::size_t>(got)), load.offset + at);
      at += static_cast<std::uint64_t>(got);
    }
  }

  void put(std::span<const std::byte> bytes, std::uint64_t offset) {
    pwrite_all(fd_.get(), bytes, offset, path_);
    written_ += bytes.size();
  }

  const store::CheckpointReader& reader_;
  const std::string& path_;
  std::unique_ptr<image::CheckpointT> checkpoint_;
  const image::ProcessT& process_;
  UniqueFd fd_;
  Notes notes_;
  std::vector<Load> loads_;
  std::uint64_t end_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace

CoreFile write_core_file(const store::CheckpointReader& reader, const std::string& path) {
  return CoreWriter(reader, path).write();
}

}  // namespace ckpt::engine
