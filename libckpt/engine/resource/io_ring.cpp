// io_uring instances at rest: every request that was submitted has completed, so that nothing but the memory
// shared with the kernel, the counters, and what is registered has to come back.
//
// The kernel does not tell how a ring was set up; what matters is found out by calls that fail in different
// ways. Flags that only change how fast a ring is (COOP_TASKRUN, TASKRUN_FLAG) are left out.
#include "engine/resource/io_ring.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/parse.h"
#include "engine/resource/fdinfo_lines.h"
#include "engine/resource/finishing.h"
#include "engine/resource/only_hole.h"
#include "engine/resource/reopen.h"
#include "engine/resource/ring_memory.h"

namespace ckpt::engine::resource {
namespace {

// Newer than the system's header.
constexpr std::uint32_t kNoIndexArray = 1U << 16;  // IORING_SETUP_NO_SQARRAY, Linux 6.6
constexpr std::uint32_t kResizeRings = 33;         // IORING_REGISTER_RESIZE_RINGS, Linux 6.13
constexpr std::uint64_t kBadAddress = 1;

constexpr std::chrono::seconds kMemoryReturns{5};

// Counting there takes the restore 0.3 microseconds each.
constexpr std::uint32_t kMostRequests = 100'000'000;

bool matches(const SaveState&, const OpenDescription& description) {
  return description.link == "anon_inode:[io_uring]";
}

[[noreturn]] void refuse(const OpenDescription& description, std::string_view why) {
  throw Error(
      fmt::format("descriptor {} is an io_uring {} before the checkpoint", description.number(), why));
}

// Negative errno, as the program's own calls have it.
std::int64_t register_call(int ring, std::uint32_t operation) {
  long result = ::syscall(SYS_io_uring_register, ring, operation, kBadAddress, 1);
  return result < 0 ? -errno : result;
}

// A ring with IORING_SETUP_SINGLE_ISSUER answers only the thread that may submit.
std::uint32_t find_flags(const SaveState& state, const OpenDescription& description, int ring) {
  std::int64_t ours = register_call(ring, kResizeRings);
  bool single = ours == -EEXIST;
  if (!single) return 0;
  if (state.context.calls == nullptr) refuse(description, "for one thread only; close it");
  auto number = static_cast<std::uint64_t>(description.number());
  std::int64_t theirs =
      state.context.calls->call(SYS_io_uring_register, {number, kResizeRings, kBadAddress, 1});
  if (theirs == -EEXIST) refuse(description, "that only another than the main thread may use; close it");
  std::uint32_t flags = IORING_SETUP_SINGLE_ISSUER;
  if (theirs == -EFAULT) flags |= IORING_SETUP_DEFER_TASKRUN;
  return flags;
}

void refuse_registered_eventfd(const SaveState& state, const OpenDescription& description, int ring,
                               bool single) {
  auto number = static_cast<std::uint64_t>(description.number());
  std::int64_t result = single ? state.context.calls->call(SYS_io_uring_register,
                                                           {number, IORING_REGISTER_EVENTFD, kBadAddress, 1})
                               : register_call(ring, IORING_REGISTER_EVENTFD);
  if (result == -EBUSY) refuse(description, "with an eventfd; unregister that");
}

// Programs fill the array at once, or slot by slot as they submit. One that has submitted something and left
// it empty has none.
bool has_index_array(const std::vector<std::uint8_t>& rings, const RingInfo& info) {
  auto first = rings.begin() + static_cast<std::ptrdiff_t>(index_array_offset(info.completion_entries));
  return std::any_of(first, rings.end(), [](std::uint8_t byte) { return byte != 0; });
}

std::int32_t descriptor_of(const SaveState& state, const OpenDescription& ring, const std::string& path) {
  std::int32_t found = -1;
  for (const OpenDescription& other : state.all) {
    if (other.link != path) continue;
    if (found >= 0)
      refuse(ring, fmt::format("with a registered file, {}, that is open twice; unregister it", path));
    found = other.number_in(state.context.pid);
  }
  if (found < 0)
    refuse(ring, fmt::format("with a registered file, {}, that is not open; unregister it", path));
  return found;
}

void refuse_unless_at_rest(const OpenDescription& description, const RingInfo& info) {
  if (info.has_thread) refuse(description, "with a thread of the kernel (SQPOLL); close it");
  if (info.submitted != info.completed || info.has_requests)
    refuse(description, "with requests under way; let them complete");
  if (info.submitted > kMostRequests)
    refuse(description, fmt::format("that has served {} requests, too many to count again; open a new one",
                                    info.submitted));
}

image::DescriptionDetailUnion save(SaveState& state, const OpenDescription& description) {
  RingInfo info = parse_ring_info(description.info, description.what());
  refuse_unless_at_rest(description, info);
  UniqueFd ring = copy_descriptor(description);
  image::IoUringDetailT detail;
  detail.inode = parse_unsigned(description.info_field("ino")).value_or(0);
  detail.entries = info.entries;
  detail.completion_entries = info.completion_entries;
  detail.position = info.submitted;
  detail.flags = find_flags(state, description, ring.get());
  refuse_registered_eventfd(state, description, ring.get(), detail.flags != 0);
  detail.regions = copy_ring_memory(ring.get(), info.entries, info.completion_entries);
  if (!has_index_array(detail.regions.front()->content, info)) detail.flags |= kNoIndexArray;
  detail.files.assign(info.file_slots, -1);
  for (const auto& [slot, path] : info.files) detail.files.at(slot) = descriptor_of(state, description, path);
  for (const image::MemoryRangeT& buffer : info.buffers)
    detail.buffers.push_back(std::make_unique<image::MemoryRangeT>(buffer));
  return as_detail(std::move(detail));
}

// A user's rings and registered buffers together are bounded by RLIMIT_MEMLOCK, and those of a ring that is
// gone, such as the killed program's own, count until the kernel has taken it apart in the background
// (io_ring_exit_work). `call` gives a negative errno when it fails.
template <typename Call>
std::int64_t call_while_memory_returns(Call call) {
  const auto deadline = std::chrono::steady_clock::now() + kMemoryReturns;
  std::int64_t result = call();
  while (result == -ENOMEM && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    result = call();
  }
  return result;
}

// `result` is a negative errno.
std::string describe_ring_error(std::int64_t result) {
  std::string text = describe_errno(static_cast<int>(-result));
  if (result == -ENOMEM) text += ", which may be the limit of locked memory (ulimit -l); raise it";
  return text;
}

// Or a negative errno.
std::int64_t set_up(const image::IoUringDetailT& detail) {
  return call_while_memory_returns([&]() -> std::int64_t {
    io_uring_params parameters{};
    parameters.flags = detail.flags | IORING_SETUP_CQSIZE;
    parameters.cq_entries = detail.completion_entries;
    long ring = ::syscall(SYS_io_uring_setup, detail.entries, &parameters);
    return ring < 0 ? -errno : ring;
  });
}

std::string check(CheckState&, const image::DescriptionT& description) {
  std::int64_t ring = set_up(*description.detail.AsIoUringDetail());
  if (ring < 0) return fmt::format("an io_uring cannot be made here: {}", describe_ring_error(ring));
  UniqueFd closes(static_cast<int>(ring));
  return {};
}

// Made before execve: the ring belongs to the file, and the task that may submit stays the same.
UniqueFd restore(RestoreState&, const image::DescriptionT& description) {
  const image::IoUringDetailT& detail = *description.detail.AsIoUringDetail();
  std::int64_t made = set_up(detail);
  if (made < 0) throw Error(fmt::format("make an io_uring: {}", describe_ring_error(made)));
  UniqueFd ring(static_cast<int>(made));
  advance_ring(ring.get(), detail.entries, detail.completion_entries, detail.position);
  return ring;
}

void connect(RestoreState&, const image::DescriptionT& description, int number) {
  const image::IoUringDetailT& detail = *description.detail.AsIoUringDetail();
  if (detail.files.empty()) return;
  if (::syscall(SYS_io_uring_register, number, IORING_REGISTER_FILES, detail.files.data(),
                detail.files.size()) != 0)
    throw_errno("register files with an io_uring");
}

// Whether asked for an address or to move to one, the kernel refuses (io_uring_get_unmapped_area).
void map_ring(ProgramCalls& program, const image::MappingT& mapping, int number) {
  std::uint64_t size_bytes = mapping.end - mapping.start;
  OnlyHole hole(program, mapping.start, size_bytes);
  std::int64_t mapped =
      call_or_throw(program, fmt::format("map an io_uring at {:#x}", mapping.start), SYS_mmap,
                    {0, size_bytes, mapping.protection, MAP_SHARED | MAP_POPULATE,
                     static_cast<std::uint64_t>(number), mapping.offset});
  hole.open();
  if (static_cast<std::uint64_t>(mapped) == mapping.start) return;
  throw Error(fmt::format("the memory of an io_uring, which was at {:#x}, went to {:#x}", mapping.start,
                          static_cast<std::uint64_t>(mapped)));
}

void map_rings(FinishState& state, const image::DescriptionT& description, int number) {
  const image::ProcessT& process = *state.checkpoint.process;
  for (const auto& mapping : process.mappings) {
    if (mapping->kind != image::MappingKind::RingMemory) continue;
    const auto& ring = process.descriptions.at(static_cast<std::size_t>(mapping->description));
    if (ring.get() == &description) map_ring(state.program, *mapping, number);
  }
}

void register_buffers(FinishState& state, const image::IoUringDetailT& detail, int number) {
  if (detail.buffers.empty()) return;
  std::vector<iovec> buffers;
  for (const auto& buffer : detail.buffers)
    buffers.push_back(
        {reinterpret_cast<void*>(buffer->start), buffer->length});  // NOLINT: the program's address
  RemoteAddr address = state.program.place(std::as_bytes(std::span(buffers)));
  std::int64_t result = call_while_memory_returns([&] {
    return state.program.call(
        SYS_io_uring_register,
        {static_cast<std::uint64_t>(number), IORING_REGISTER_BUFFERS, address.value, buffers.size()});
  });
  if (result < 0)
    throw Error(fmt::format("register buffers with an io_uring: {}", describe_ring_error(result)));
}

void finish(FinishState& state, const image::DescriptionT& description,
            const std::vector<const image::DescriptorT*>& numbers) {
  const image::IoUringDetailT& detail = *description.detail.AsIoUringDetail();
  int number = numbers.front()->number;
  map_rings(state, description, number);
  OpenDescription ring = inspect_descriptor(state.program.pid(), number);
  write_ring_memory(copy_descriptor(ring).get(), detail.regions);
  register_buffers(state, detail, number);
}

std::uint32_t number_field(std::string_view info, std::string_view key, const std::string& what) {
  std::string_view text = status_field(info, key);
  bool hexadecimal = text.starts_with("0x");
  auto value = hexadecimal ? parse_unsigned(text.substr(2), 16) : parse_unsigned(text);
  if (!value) throw Error(fmt::format("the kernel does not tell '{}' of {}", key, what));
  return static_cast<std::uint32_t>(*value);
}

// Paths have blanks, tabs, line ends and backslashes as three octal digits (seq_path() of the kernel).
std::string unescape(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::optional<std::uint64_t> code;
    if (text[i] == '\\') code = parse_unsigned(text.substr(i + 1, 3), 8);
    plain += code ? static_cast<char>(*code) : text[i];
    if (code) i += 3;
  }
  return plain;
}

// "    2: rest" in the part of the text that begins with "\nkey:".
void for_each_slot(std::string_view info, const std::string& key,
                   const std::function<void(std::uint32_t, std::string_view)>& visit) {
  std::size_t start = info.find("\n" + key + ":");
  if (start == std::string_view::npos) return;
  info.remove_prefix(start + 1);
  take_line(info);
  while (info.starts_with(' ')) {
    std::string_view line = take_line(info);
    std::size_t colon = line.find(": ");
    auto slot = parse_unsigned(line.substr(0, colon).substr(line.find_first_not_of(' ')));
    if (colon != std::string_view::npos && slot)
      visit(static_cast<std::uint32_t>(*slot), line.substr(colon + 2));
  }
}

// "0x55beb6443000/8192"
image::MemoryRangeT parse_buffer(std::string_view text, const std::string& what) {
  std::size_t slash = text.find('/');
  auto start = text.starts_with("0x") ? parse_unsigned(text.substr(2, slash - 2), 16) : std::nullopt;
  auto length = slash == std::string_view::npos ? std::nullopt : parse_unsigned(text.substr(slash + 1));
  if (!start || !length) throw Error(fmt::format("the kernel describes a buffer of {} as {}", what, text));
  image::MemoryRangeT range;
  range.start = *start;
  range.length = *length;
  return range;
}

}  // namespace

RingInfo parse_ring_info(std::string_view info, const std::string& what) {
  RingInfo ring;
  ring.entries = number_field(info, "SqMask", what) + 1;
  ring.completion_entries = number_field(info, "CqMask", what) + 1;
  ring.submitted = number_field(info, "CachedSqHead", what);
  ring.completed = number_field(info, "CachedCqTail", what);
  ring.has_thread = status_field(info, "SqThread") != "-1";
  ring.has_requests = info.find("\n  op=") != std::string_view::npos ||
                      info.find("\n  user_data=") != std::string_view::npos ||
                      info.find("\nPollList:") == std::string_view::npos;
  ring.file_slots = number_field(info, "UserFiles", what);
  for_each_slot(info, "UserFiles", [&](std::uint32_t slot, std::string_view path) {
    if (path != "<none>") ring.files.emplace_back(slot, unescape(path));
  });
  ring.buffers.resize(number_field(info, "UserBufs", what));
  for_each_slot(info, "UserBufs", [&](std::uint32_t slot, std::string_view text) {
    if (text != "<none>") ring.buffers.at(slot) = parse_buffer(text, what);
  });
  return ring;
}

std::int32_t find_ring(const image::ProcessT& process, std::uint64_t inode) {
  for (std::size_t i = 0; i < process.descriptions.size(); ++i) {
    const image::IoUringDetailT* detail = process.descriptions[i]->detail.AsIoUringDetail();
    if (detail != nullptr && detail->inode == inode) return static_cast<std::int32_t>(i);
  }
  return -1;
}

const ResourceKind kIoRing{"io_uring", image::DescriptionDetail::IoUringDetail,
                           O_NONBLOCK, matches,
                           save,       check,
                           restore,    connect,
                           finish,     true};

}  // namespace ckpt::engine::resource
