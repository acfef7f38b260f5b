// The kernel does not tell how many requests of a context are under way. But it limits them: a ring of N
// events takes N-1 requests that are under way or whose events were not read. So the stopped program is made
// to submit requests that wait for an eventfd, until no more are taken; those that are missing are somebody
// else's. Then the eventfd is written to, all of ours complete, and their events are taken out of the ring
// again. Each processor hoards some room for requests, so it is asked on every one; and room is given to
// processors in portions, so that the rest of a division can never be had.
//
// What the program may notice is that head and tail of the ring have moved on, both alike.
#include "engine/resource/aio_contexts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/file_io.h"
#include "base/parse.h"
#include "engine/resource/fdinfo_lines.h"
#include "engine/resource/finishing.h"
#include "engine/resource/only_hole.h"

namespace ckpt::engine {
namespace resource {
namespace {

// struct aio_ring of the kernel, unchanged since 2.6 (the library reads it).
struct Ring {
  std::uint32_t index;
  std::uint32_t event_count;
  std::uint32_t head;
  std::uint32_t tail;
  std::uint32_t magic;
  std::uint32_t features[2];
  std::uint32_t header_bytes;
};
static_assert(sizeof(Ring) == 32);
constexpr std::uint32_t kMagic = 0xa10a10a1;
constexpr std::size_t kEventBytes = sizeof(io_event);
static_assert(kEventBytes == 32);
constexpr std::uint64_t kOurs = 0x7473657220746120;  // in the events of requests that are ours
constexpr std::size_t kMostAtOnce = 4096;
constexpr int kMostWaits = 1000;

Ring read_header(std::span<const std::byte> memory) {
  Ring ring{};
  if (memory.size() < sizeof ring) throw Error("the ring of an AIO context is too small");
  std::memcpy(&ring, memory.data(), sizeof ring);
  std::size_t room = (memory.size() - sizeof ring) / kEventBytes;
  bool sound = ring.magic == kMagic && ring.header_bytes == sizeof ring && ring.event_count == room &&
               ring.head < room && ring.tail < room;
  if (!sound) throw Error("the ring of an AIO context makes no sense; let the program make a new one");
  return ring;
}

std::uint32_t count_waiting(const Ring& ring) {
  return (ring.tail + ring.event_count - ring.head) % ring.event_count;
}

// The memory of a context in a program that stands still.
class RingWindow {
 public:
  RingWindow(pid_t pid, std::uint64_t start, std::uint64_t size_bytes)
      : memory_(open_or_throw(fmt::format("/proc/{}/mem", pid), O_RDWR)), start_(start), bytes_(size_bytes) {
    read();
  }

  const Ring& read() {
    pread_exactly(memory_.get(), bytes_, start_, "the ring of an AIO context");
    header_ = read_header(bytes_);
    return header_;
  }
  const Ring& header() const { return header_; }
  std::vector<std::byte> events() const { return waiting_events(bytes_); }

  void set_head(std::uint32_t head) { write(offsetof(Ring, head), std::as_bytes(std::span(&head, 1))); }
  // Of the slots that end at `end`.
  void write_events_before(std::uint32_t end, std::span<const std::byte> events) {
    auto count = static_cast<std::uint32_t>(events.size() / kEventBytes);
    for (std::uint32_t i = 0; i < count; ++i) {
      std::uint32_t slot = (end + header_.event_count - count + i) % header_.event_count;
      write(sizeof(Ring) + slot * kEventBytes, events.subspan(i * kEventBytes, kEventBytes));
    }
  }

 private:
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    pwrite_all(memory_.get(), bytes, start_ + offset, "the ring of an AIO context");
  }

  UniqueFd memory_;
  std::uint64_t start_;
  std::vector<std::byte> bytes_;
  Ring header_{};
};

// Requests that complete when an eventfd of the program is not 0. They belong to the program's main thread.
class PollRequests {
 public:
  PollRequests(ProgramCalls& program, std::uint64_t context, unsigned initial_value)
      : program_(program),
        context_(context),
        eventfd_(static_cast<std::uint64_t>(call_or_throw(program, "make an eventfd in the program",
                                                          SYS_eventfd2, {initial_value, EFD_CLOEXEC}))) {}
  ~PollRequests() { program_.call(SYS_close, {eventfd_}); }
  PollRequests(const PollRequests&) = delete;
  PollRequests& operator=(const PollRequests&) = delete;

  // Up to `count`; fewer if the context takes no more here.
  std::uint32_t submit(std::uint32_t count) {
    std::uint32_t submitted = 0;
    while (submitted < count) {
      std::int64_t taken = submit_once(std::min<std::size_t>(count - submitted, kMostAtOnce));
      if (taken == -EAGAIN) break;
      if (taken <= 0) throw_errno("submit a request of AIO", static_cast<int>(-taken));
      submitted += static_cast<std::uint32_t>(taken);
    }
    return submitted;
  }

  void complete() {
    std::uint64_t one = 1;
    RemoteAddr address = program_.place(std::as_bytes(std::span(&one, 1)));
    call_or_throw(program_, "write to an eventfd in the program", SYS_write, {eventfd_, address.value, 8});
  }

 private:
  // All are one and the same; the kernel copies it.
  std::int64_t submit_once(std::size_t count) {
    iocb request{};
    request.aio_data = kOurs;
    request.aio_lio_opcode = IOCB_CMD_POLL;
    request.aio_fildes = static_cast<std::uint32_t>(eventfd_);
    request.aio_buf = POLLIN;
    std::vector<std::byte> placed(sizeof request + count * sizeof(std::uint64_t));
    RemoteAddr start = program_.place(placed);  // tells where
    std::vector<std::uint64_t> pointers(count, start.value);
    std::memcpy(placed.data(), &request, sizeof request);
    std::memcpy(placed.data() + sizeof request, pointers.data(), count * sizeof(std::uint64_t));
    program_.place(placed);
    return program_.call(SYS_io_submit, {context_, count, start.value + sizeof request});
  }

  ProgramCalls& program_;
  std::uint64_t context_;
  std::uint64_t eventfd_;
};

// Puts the thread on one processor after the other, and back to where it may be.
class EveryProcessor {
 public:
  explicit EveryProcessor(pid_t thread) : thread_(thread) {
    CPU_ZERO(&before_);
    if (::sched_getaffinity(thread_, sizeof before_, &before_) != 0)
      throw_errno("ask for the processors of a thread");
  }
  ~EveryProcessor() { ::sched_setaffinity(thread_, sizeof before_, &before_); }
  EveryProcessor(const EveryProcessor&) = delete;
  EveryProcessor& operator=(const EveryProcessor&) = delete;

  // False if there is no such processor, or it is not for this thread.
  bool move_to(int processor) const {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(processor), &one);
    return ::sched_setaffinity(thread_, sizeof one, &one) == 0;
  }

 private:
  pid_t thread_;
  cpu_set_t before_{};
};

// "0-3,8-11"
std::uint32_t count_processors(std::string_view list) {
  std::uint32_t count = 0;
  list = take_line(list);
  while (!list.empty()) {
    std::string_view range = take_field(list, ',');
    if (range.empty()) continue;
    std::size_t dash = range.find('-');
    auto first = parse_unsigned(range.substr(0, dash));
    auto last = dash == std::string_view::npos ? first : parse_unsigned(range.substr(dash + 1));
    if (!first || !last || *last < *first) throw Error("the kernel's list of processors is not understood");
    count += static_cast<std::uint32_t>(*last - *first + 1);
  }
  return std::max(count, 1U);
}

std::uint32_t fill_up(PollRequests& requests, pid_t thread, std::uint32_t room) {
  EveryProcessor processors(thread);
  long count = std::min<long>(::sysconf(_SC_NPROCESSORS_CONF), CPU_SETSIZE);
  std::uint32_t submitted = requests.submit(room);
  for (int processor = 0; processor < count && submitted < room; ++processor) {
    if (processors.move_to(processor)) submitted += requests.submit(room - submitted);
  }
  return submitted;
}

bool is_ours(std::span<const std::byte> event) {
  std::uint64_t data = 0;
  std::memcpy(&data, event.data(), sizeof data);
  return data == kOurs;
}

std::uint32_t count_ours(std::span<const std::byte> events) {
  std::uint32_t count = 0;
  for (std::size_t at = 0; at < events.size(); at += kEventBytes)
    count += is_ours(events.subspan(at)) ? 1 : 0;
  return count;
}

// The kernel may finish some of them a moment later.
void wait_for(RingWindow& ring, std::uint32_t ours) {
  for (int wait = 0; wait < kMostWaits; ++wait) {
    ring.read();
    if (count_ours(ring.events()) == ours) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  throw Error("requests of AIO that wait for an eventfd do not complete; try again");
}

std::vector<std::byte> take_ours_out(RingWindow& ring) {
  std::vector<std::byte> all = ring.events();
  std::vector<std::byte> others;
  for (std::size_t at = 0; at < all.size(); at += kEventBytes) {
    auto event = std::span(all).subspan(at, kEventBytes);
    if (!is_ours(event)) others.insert(others.end(), event.begin(), event.end());
  }
  const Ring& header = ring.header();
  ring.write_events_before(header.tail, others);
  auto count = static_cast<std::uint32_t>(others.size() / kEventBytes);
  ring.set_head((header.tail + header.event_count - count) % header.event_count);
  return others;
}

std::unique_ptr<image::AioContextT> save_context(ProgramCalls& program, std::uint64_t start,
                                                 std::uint64_t end) {
  RingWindow ring(program.pid(), start, end - start);
  std::uint32_t room = ring.header().event_count - 1 - count_waiting(ring.header());
  std::uint32_t submitted = 0;
  std::uint32_t under_way = 0;
  {
    PollRequests requests(program, start, 0);
    submitted = fill_up(requests, program.pid(), room);
    const Ring& now = ring.read();
    std::uint32_t processors = count_processors(read_file("/sys/devices/system/cpu/possible"));
    under_way = room_for_requests(now.event_count, processors) - count_waiting(now) - submitted;
    requests.complete();
    wait_for(ring, submitted);
  }
  auto saved = std::make_unique<image::AioContextT>();
  saved->start = start;
  saved->end = end;
  for (std::byte byte : take_ours_out(ring)) saved->events.push_back(static_cast<std::uint8_t>(byte));
  if (under_way == 0) return saved;
  throw Error(fmt::format(
      "the program has an AIO context (at {:#x}) with requests under way: {}; let them complete before the "
      "checkpoint, or let the program end it (io_destroy)",
      start, under_way));
}

// With all other holes closed it comes to be where it was.
void make_context(ProgramCalls& program, const image::AioContextT& context) {
  std::uint64_t size_bytes = context.end - context.start;
  OnlyHole hole(program, context.start, size_bytes);
  std::uint64_t id = 0;
  RemoteAddr address = program.place(std::as_bytes(std::span(&id, 1)));
  call_or_throw(program, "make an AIO context (io_setup; fs.aio-max-nr may be too small)", SYS_io_setup,
                {requests_for_ring(size_bytes), address.value});
  program.fetch(address, std::as_writable_bytes(std::span(&id, 1)));
  hole.open();
  if (id == context.start) return;
  throw Error(fmt::format("an AIO context that was at {:#x} went to {:#x}", context.start, id));
}

// As many requests are completed as there are events, whose places these then take.
void put_events(ProgramCalls& program, const image::AioContextT& context) {
  auto count = static_cast<std::uint32_t>(context.events.size() / kEventBytes);
  RingWindow ring(program.pid(), context.start, context.end - context.start);
  if (count == 0) return;
  PollRequests requests(program, context.start, 1);
  if (requests.submit(count) != count) throw Error("a new AIO context does not take its old requests");
  wait_for(ring, count);
  ring.write_events_before(ring.header().tail, std::as_bytes(std::span(context.events)));
}

}  // namespace

std::vector<std::byte> waiting_events(std::span<const std::byte> memory) {
  Ring ring = read_header(memory);
  std::vector<std::byte> events;
  for (std::uint32_t i = ring.head; i != ring.tail; i = (i + 1) % ring.event_count) {
    auto event = memory.subspan(sizeof ring + i * kEventBytes, kEventBytes);
    events.insert(events.end(), event.begin(), event.end());
  }
  return events;
}

// ioctx_alloc() and __get_reqs_available() of the kernel.
std::uint32_t room_for_requests(std::uint32_t event_count, std::uint32_t processors) {
  std::uint32_t room = event_count - 1;
  std::uint32_t portion = std::max(room / (processors * 4), 1U);
  return room - room % portion;
}

// The kernel doubles the number, adds two, and fills the last page.
std::uint32_t requests_for_ring(std::uint64_t size_bytes) {
  std::uint64_t events = (size_bytes - sizeof(Ring)) / kEventBytes;
  return static_cast<std::uint32_t>((events - 2) / 2);
}

}  // namespace resource

void save_aio_contexts(SaveContext& context, image::ProcessT& process) {
  std::string maps = read_file(fmt::format("/proc/{}/maps", context.pid));
  resource::for_each_line(maps, "", [&](std::string_view line) {
    if (!line.ends_with(kAioRingPath)) return;
    std::size_t dash = line.find('-');
    auto start = parse_unsigned(line.substr(0, dash), 16);
    auto end = parse_unsigned(line.substr(dash + 1, line.find(' ') - dash - 1), 16);
    if (!start || !end) throw Error(fmt::format("a line of maps is not understood: {}", line));
    process.aio_contexts.push_back(resource::save_context(*context.calls, *start, *end));
  });
}

void finish_aio_contexts(const image::CheckpointT& checkpoint, ProgramCalls& program) {
  for (const auto& context : checkpoint.process->aio_contexts) {
    resource::make_context(program, *context);
    resource::put_events(program, *context);
  }
}

}  // namespace ckpt::engine
