// A program of a chosen size that dirties its memory at a chosen rate, and knows how long it ever stood
// still: a thread of its own reads the clock in a tight loop and keeps the largest gap between two reads.
//
//   dirties_memory [--resident MIB] [--rate MIB_PER_SECOND] [--threads N] [--huge-pages] [--calm]
//                  [--control FILE] [GO_FILE]
//
// --calm: the clock is read ten times a millisecond only, which leaves the processor to others.
//
// The pages that are dirtied are single, scattered over all of the memory, and all different until each had
// its turn. Prints "ready" once its memory is filled with random bytes, then a line every second: the largest
// gap in that second, the largest so far, and the bytes dirtied. With a control file it obeys
// dirties_memory.h as well. Ends when the go file exists.
#include "dirties_memory.h"

#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "target.h"

namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kPageWords = kPageBytes / sizeof(std::uint64_t);
constexpr std::int64_t kSecond = 1'000'000'000;

using Page = std::array<std::uint64_t, kPageWords>;

struct Arguments {
  std::size_t resident_mib = 64;
  std::uint64_t mib_per_second = 16;
  unsigned threads = 1;
  bool huge_pages = false;
  bool calm = false;
  const char* control = nullptr;
  const char* go_file = "";
};

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr,
               "usage: %s [--resident MIB] [--rate MIB_PER_SECOND] [--threads N] [--huge-pages] [--calm] "
               "[--control FILE] "
               "[GO_FILE]\n",
               program);
  std::exit(2);
}

Arguments parse(int argc, char** argv) {
  static const option options[] = {{"resident", required_argument, nullptr, 'm'},
                                   {"rate", required_argument, nullptr, 'r'},
                                   {"threads", required_argument, nullptr, 't'},
                                   {"huge-pages", no_argument, nullptr, 'h'},
                                   {"control", required_argument, nullptr, 'c'},
                                   {"calm", no_argument, nullptr, 'q'},
                                   {nullptr, 0, nullptr, 0}};
  Arguments arguments;
  for (int code = 0; (code = ::getopt_long(argc, argv, "+", options, nullptr)) != -1;) {
    if (code == 'm')
      arguments.resident_mib = std::strtoull(optarg, nullptr, 10);
    else if (code == 'r')
      arguments.mib_per_second = std::strtoull(optarg, nullptr, 10);
    else if (code == 't')
      arguments.threads = static_cast<unsigned>(std::strtoul(optarg, nullptr, 10));
    else if (code == 'h')
      arguments.huge_pages = true;
    else if (code == 'q')
      arguments.calm = true;
    else if (code == 'c')
      arguments.control = optarg;
    else
      usage(argv[0]);
  }
  if (argc - optind > 1 || arguments.resident_mib == 0 || arguments.threads == 0) usage(argv[0]);
  if (optind < argc) arguments.go_file = argv[optind];
  return arguments;
}

std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// A permutation of 0 .. count - 1 whose neighbours are far apart: steps that can be undone (an odd factor, a
// shifted xor) within the next power of two, repeated while the result is too large.
class ScatteredOrder {
 public:
  explicit ScatteredOrder(std::uint64_t count) : count_(count) {
    while ((std::uint64_t{1} << bits_) < count_) ++bits_;
  }
  std::uint64_t at(std::uint64_t index) const {
    std::uint64_t place = index % count_;
    do {
      place = mix(place);
    } while (place >= count_);
    return place;
  }

 private:
  std::uint64_t mix(std::uint64_t x) const {
    const std::uint64_t mask = (std::uint64_t{1} << bits_) - 1;
    const unsigned half = (bits_ + 1) / 2;
    for (std::uint64_t factor : {0x9e3779b97f4a7c15U, 0xc2b2ae3d27d4eb4fU, 0x165667b19e3779f9U}) {
      x = x * factor & mask;
      x ^= x >> half;
    }
    return x;
  }

  std::uint64_t count_;
  unsigned bits_ = 1;
};

std::span<Page> map_pages(const Arguments& arguments) {
  const std::size_t count = (arguments.resident_mib << 20) / kPageBytes;
  void* memory =
      ::mmap(nullptr, count * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  target_require(memory != MAP_FAILED, "map memory");
  ::madvise(memory, count * kPageBytes, arguments.huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return {static_cast<Page*>(memory), count};
}

void fill(std::span<Page> pages) {
  std::uint64_t state = 0x2545f4914f6cdd1d;
  for (Page& page : pages) std::ranges::generate(page, [&state] { return next_random(state); });
}

// Without a control file the words are the program's own.
DirtierControl& map_control(const char* path) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  int fd = -1;
  if (path != nullptr) {
    fd = ::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    target_require(fd >= 0 && ::ftruncate(fd, kPageBytes) == 0, path);
    flags = MAP_SHARED;
  }
  void* memory = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  target_require(memory != MAP_FAILED, "map the control file");
  if (fd >= 0) ::close(fd);
  return *static_cast<DirtierControl*>(memory);
}

class Program {
 public:
  explicit Program(const Arguments& arguments)
      : arguments_(arguments),
        control_(map_control(arguments.control)),
        pages_(map_pages(arguments)),
        order_(pages_.size()) {
    fill(pages_);
    if (control_.bytes_per_second == 0) control_.bytes_per_second = arguments.mib_per_second << 20;
  }

  void run() {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < arguments_.threads; ++i) threads.emplace_back([this] { dirty(); });
    threads.emplace_back([this] { obey(); });
    target_ready();
    watch_clock();
    for (std::thread& thread : threads) thread.join();
  }

 private:
  // Threads that sleep less long each would only measure the scheduler.
  std::int64_t slice_ns() const {
    return std::clamp<std::int64_t>(arguments_.threads * 5, 5, 100) * 1'000'000;
  }

  // Each thread dirties its share for the time that has passed, at most for one slice too many after it stood
  // still.
  void dirty() {
    std::int64_t last = target_now_ns(CLOCK_MONOTONIC);
    double due = 0;
    std::uint64_t random = reinterpret_cast<std::uintptr_t>(&last) | 1;
    while (!ended_) {
      target_sleep_ms(static_cast<long>(slice_ns() / 1'000'000));
      const std::int64_t now = target_now_ns(CLOCK_MONOTONIC);
      const double pages_per_ns = static_cast<double>(control_.bytes_per_second) / kPageBytes / 1e9;
      due += pages_per_ns * static_cast<double>(std::min(now - last, 2 * slice_ns())) / arguments_.threads;
      last = now;
      const auto count = static_cast<std::uint64_t>(due);
      due -= static_cast<double>(count);
      const std::uint64_t first = next_page_.fetch_add(count);
      for (std::uint64_t i = first; i < first + count; ++i)
        pages_[order_.at(i)][i % kPageWords] = next_random(random);
      control_.pages_dirtied += count;
    }
  }

  // Does what it is asked to do beside the clock: reading every page.
  void obey() {
    std::uint32_t touched = 0;
    while (!ended_) {
      if (const std::uint32_t asked = control_.touch; asked != touched) {
        touched = asked;
        std::uint64_t sum = 0;
        for (const Page& page : pages_) sum += page[0];
        std::printf("touched %u, sum %llu\n", touched, static_cast<unsigned long long>(sum));
        std::fflush(stdout);
      }
      target_sleep_ms(1);
    }
  }

  void watch_clock() {
    std::uint32_t window = 0;
    std::uint32_t said = 0;
    std::int64_t last = target_now_ns(CLOCK_MONOTONIC);
    std::int64_t second_ends = last + kSecond;
    std::int64_t largest_in_window = 0;
    std::int64_t largest_in_second = 0;
    std::int64_t largest = 0;
    while (!ended_) {
      if (arguments_.calm) std::this_thread::sleep_for(std::chrono::microseconds(100));
      const std::int64_t now = target_now_ns(CLOCK_MONOTONIC);
      const std::int64_t gap = now - last;
      last = now;
      largest_in_window = std::max(largest_in_window, gap);
      largest_in_second = std::max(largest_in_second, gap);
      if (const std::uint32_t asked = control_.say; asked != said) {
        said = asked;
        std::printf("said %u\n", said);
        std::fflush(stdout);
        last = target_now_ns(CLOCK_MONOTONIC);
      }
      if (const std::uint32_t asked = control_.window; asked != window) {
        window = asked;
        control_.largest_gap_ns = largest_in_window;
        control_.window_answered = window;
        largest_in_window = 0;
      }
      if (now < second_ends) continue;
      largest = std::max(largest, largest_in_second);
      report(largest_in_second, largest);
      largest_in_second = 0;
      ended_ = target_told_to_go(arguments_.go_file);
      last = target_now_ns(CLOCK_MONOTONIC);
      second_ends = last + kSecond;
    }
  }

  void report(std::int64_t in_second, std::int64_t overall) const {
    if (arguments_.control != nullptr) return;
    std::printf("gap_us %lld largest_us %lld dirtied_bytes %llu\n", static_cast<long long>(in_second / 1000),
                static_cast<long long>(overall / 1000),
                static_cast<unsigned long long>(control_.pages_dirtied * kPageBytes));
    std::fflush(stdout);
  }

  Arguments arguments_;
  DirtierControl& control_;
  std::span<Page> pages_;
  ScatteredOrder order_;
  std::atomic<std::uint64_t> next_page_ = 0;
  std::atomic<bool> ended_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  Program(parse(argc, argv)).run();
  return target_finish();
}
