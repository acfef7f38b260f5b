// How fast a persistent heap is, each row beside what bounds it or competes with it, measured in the same
// run, in turns.
//
//   heap_bench [DIRECTORY] [ROUNDS]     default: /var/tmp, 3 rounds; as root (memory cgroups); a few minutes,
//   4 GiB of disk
//
// Every measurement is made in a process of its own, in a memory cgroup where that matters. Printed: medians,
// and their ratio such that larger is better for the heap.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "pairs.h"
#include "statistics.h"
#include "support/temporary_directory.h"
#include "vmheap/heap.h"

namespace {

using ckpt::throw_errno;
using ckpt::UniqueFd;
using ckpt::vmheap::Heap;
using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kDataBytes = 640 * kMiB;
constexpr std::uint64_t kResidentBytes = 64 * kMiB;
constexpr std::size_t kReads = 20000;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// --- one measurement in one process
// -------------------------------------------------------------------------------

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  if (!(file << text << std::flush)) throw_errno("write " + path);
}

// Version 1 memory cgroup of the caller's, removed when it is empty.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::uint64_t limit)
      : path_(fmt::format("/sys/fs/cgroup/memory/heap_bench.{}", ::getpid())) {
    if (::mkdir(path_.c_str(), 0755) != 0) throw_errno("mkdir " + path_);
    write_text(path_ + "/memory.limit_in_bytes", std::to_string(limit));
  }
  ~MemoryGroup() { ::rmdir(path_.c_str()); }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  void enter() const { write_text(path_ + "/cgroup.procs", std::to_string(::getpid())); }

 private:
  std::string path_;
};

using Measurement = std::function<double()>;

// `limit` 0: no cgroup.
double in_child(const Measurement& measure, std::uint64_t limit) {
  std::unique_ptr<MemoryGroup> group = limit != 0 ? std::make_unique<MemoryGroup>(limit) : nullptr;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("pipe2");
  UniqueFd in(ends[0]);
  UniqueFd out(ends[1]);
  pid_t child = ::fork();
  if (child < 0) throw_errno("fork");
  if (child == 0) {
    double result = -1;
    try {
      if (group) group->enter();
      result = measure();
    } catch (const std::exception& error) {
      fmt::print(stderr, "heap_bench: {}\n", error.what());
    }
    bool sent = ::write(out.get(), &result, sizeof result) == sizeof result;
    ::_exit(sent ? 0 : 1);
  }
  out.reset();
  double result = -1;
  if (::read(in.get(), &result, sizeof result) != sizeof result) result = -1;
  int status = 0;
  ::waitpid(child, &status, 0);
  if (result < 0) throw ckpt::Error("a measurement failed");
  return result;
}

struct Row {
  std::string name;
  std::string unit;
  double reach = 0;
  bool less_is_better = true;
  Measurement ours;
  Measurement other;
  std::uint64_t our_limit = 0;
  std::uint64_t other_limit = 0;
};

std::string with_spread(const std::vector<double>& samples) {
  auto [least, most] = std::ranges::minmax(samples);
  return fmt::format("{:>9.2f} ({:.2f} to {:.2f})", ckpt::bench::median(samples), least, most);
}

void run_row(const Row& row, int rounds) {
  std::vector<double> ours;
  std::vector<double> others;
  for (int round = 0; round < rounds; ++round) {
    ours.push_back(in_child(row.ours, row.our_limit));
    if (row.other) others.push_back(in_child(row.other, row.other_limit));
  }
  double our = ckpt::bench::median(ours);
  if (!row.other) {
    fmt::print("{:<34} {} {:<5} reach {}: {}\n", row.name, with_spread(ours), row.unit, row.reach,
               our <= row.reach ? "reached" : "NOT REACHED");
  } else {
    double other = ckpt::bench::median(others);
    double ratio = row.less_is_better ? other / our : our / other;
    fmt::print("{:<34} {} {:<5} beside {}  ratio {:.2f}  reach {:.2f}: {}\n", row.name, with_spread(ours),
               row.unit, with_spread(others), ratio, row.reach,
               ratio >= row.reach ? "reached" : "NOT REACHED");
  }
  std::fflush(stdout);
}

// --- data
// ------------------------------------------------------------------------------------------------------------

std::string heap_path;
std::string file_path;
std::string scratch;

std::uint64_t* heap_data(Heap& heap) { return static_cast<std::uint64_t*>(heap.root("data")); }

void prepare() {
  auto heap = Heap::create(heap_path, {.size = 1024 * kMiB}, {.resident_limit = kResidentBytes});
  auto* data = static_cast<std::uint64_t*>(heap->allocate(kDataBytes, kPage));
  UniqueFd file(::open(file_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) throw_errno("open " + file_path);
  std::mt19937_64 random(7);
  std::vector<std::uint64_t> page(kPage / 8);
  for (std::uint64_t at = 0; at < kDataBytes; at += kPage) {
    for (std::uint64_t& word : page) word = random();
    std::memcpy(data + at / 8, page.data(), kPage);
    if (::write(file.get(), page.data(), kPage) != static_cast<ssize_t>(kPage))
      throw_errno("write " + file_path);
  }
  heap->set_root("data", data);
  heap->commit();
  if (::fsync(file.get()) != 0) throw_errno("fsync");
}

// A file mapping whose pages come from disk.
class FileMapping {
 public:
  explicit FileMapping(int advice) : fd_(::open(file_path.c_str(), O_RDWR | O_CLOEXEC)) {
    if (!fd_) throw_errno("open " + file_path);
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
    data_ = ::mmap(nullptr, kDataBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (data_ == MAP_FAILED || ::madvise(data_, kDataBytes, advice) != 0) throw_errno("mmap " + file_path);
  }
  ~FileMapping() { ::munmap(data_, kDataBytes); }
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;
  std::uint64_t* data() const { return static_cast<std::uint64_t*>(data_); }

 private:
  UniqueFd fd_;
  void* data_ = nullptr;
};

std::unique_ptr<Heap> open_heap() { return Heap::open(heap_path, {.resident_limit = kResidentBytes}); }

// --- rows
// ------------------------------------------------------------------------------------------------------------

// Microseconds per operation and thread, on pages chosen at random; half of kReads go before to fill the
// memory.
double random_pages(std::uint64_t* data, unsigned threads, bool write) {
  auto work = [&](unsigned seed, std::size_t count) {
    std::mt19937_64 random(seed);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < count; ++i) {
      volatile std::uint64_t* word = data + random() % (kDataBytes / kPage) * (kPage / 8);
      sum += *word;
      if (write) *word = sum;
    }
    return sum;
  };
  work(99, kReads / 2);
  auto start = Clock::now();
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) all.emplace_back([&, t] { work(t, kReads); });
  for (std::thread& thread : all) thread.join();
  return seconds_since(start) * 1e6 / kReads;
}

Row random_row(const std::string& name, unsigned threads, bool write) {
  return {.name = name,
          .unit = "us",
          .reach = 0.8,
          .ours =
              [=] {
                auto heap = open_heap();
                return random_pages(heap_data(*heap), threads, write);
              },
          .other = [=] { return random_pages(FileMapping(MADV_RANDOM).data(), threads, write); },
          .our_limit = kResidentBytes + 64 * kMiB,
          .other_limit = kResidentBytes + 8 * kMiB};
}

double scan_heap() {
  auto heap = open_heap();
  auto start = Clock::now();
  volatile std::uint64_t* data = heap_data(*heap);
  std::uint64_t sum = 0;
  for (std::uint64_t i = 0; i < kDataBytes / 8; i += 8) sum += data[i];
  return static_cast<double>(kDataBytes) / 1e6 / seconds_since(start) + static_cast<double>(sum & 1) * 1e-9;
}

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using Buffer = std::unique_ptr<std::byte, Free>;

Buffer buffer(std::size_t size) {
  Buffer result(static_cast<std::byte*>(std::aligned_alloc(kPage, size)));
  std::memset(result.get(), 'x', size);
  return result;
}

double read_directly() {
  UniqueFd fd(::open(file_path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  Buffer bytes = buffer(4 * kMiB);
  auto start = Clock::now();
  for (std::uint64_t at = 0; at < kDataBytes; at += 4 * kMiB) {
    if (::pread(fd.get(), bytes.get(), 4 * kMiB, static_cast<off_t>(at)) < 0) throw_errno("read");
  }
  return static_cast<double>(kDataBytes) / 1e6 / seconds_since(start);
}

constexpr std::uint64_t kRefaultBytes = 16 * kMiB;

// Microseconds for a fault on a page that is in memory, not mapped.
double refault(volatile std::uint64_t* data, const std::function<void()>& unmap) {
  std::vector<double> samples;
  for (int round = 0; round < 4; ++round) {
    unmap();
    for (std::uint64_t i = 0; i < kRefaultBytes / kPage; ++i) {
      auto start = Clock::now();
      (void)data[i * 7919 % (kRefaultBytes / kPage) * (kPage / 8)];
      samples.push_back(seconds_since(start) * 1e6);
    }
  }
  return ckpt::bench::median(samples);
}

double refault_heap() {
  auto heap = open_heap();
  volatile std::uint64_t* data = heap_data(*heap);
  for (std::uint64_t i = 0; i < kRefaultBytes / 8; i += kPage / 8) (void)data[i];
  return refault(data, [&] { heap->cold(heap_data(*heap), kRefaultBytes); });
}

// A thread that maps what is asked for and does nothing else.
double refault_bare() {
  UniqueFd fault(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
  uffdio_api api{.api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM, .ioctls = 0};
  UniqueFd memory(::memfd_create("bare", MFD_CLOEXEC));
  if (::ioctl(fault.get(), UFFDIO_API, &api) != 0 || ::ftruncate(memory.get(), kRefaultBytes) != 0)
    throw_errno("userfaultfd");
  void* view = ::mmap(nullptr, kRefaultBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  void* alias = ::mmap(nullptr, kRefaultBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  std::memset(alias, 1, kRefaultBytes);
  auto begin = reinterpret_cast<std::uint64_t>(view);
  uffdio_register range{
      .range = {.start = begin, .len = kRefaultBytes}, .mode = UFFDIO_REGISTER_MODE_MINOR, .ioctls = 0};
  if (::ioctl(fault.get(), UFFDIO_REGISTER, &range) != 0) throw_errno("UFFDIO_REGISTER");
  std::thread([&] {
    uffd_msg message;
    while (::read(fault.get(), &message, sizeof message) == sizeof message) {
      uffdio_continue request{.range = {.start = message.arg.pagefault.address / kPage * kPage, .len = kPage},
                              .mode = 0,
                              .mapped = 0};
      ::ioctl(fault.get(), UFFDIO_CONTINUE, &request);
    }
  }).detach();  // ends with the process
  return refault(static_cast<std::uint64_t*>(view), [&] { ::madvise(view, kRefaultBytes, MADV_DONTNEED); });
}

double commit_much() {
  constexpr std::uint64_t kDirty = 256 * kMiB;
  std::string path = scratch + "/commit.heap";
  std::filesystem::remove_all(path);
  double result = 0;
  {
    auto heap = Heap::create(path, {.size = 512 * kMiB}, {.resident_limit = 400 * kMiB});
    auto* data = static_cast<std::uint64_t*>(heap->allocate(kDirty, kPage));
    for (int round = 0; round < 2; ++round) {  // the first one has buffers to make
      std::mt19937_64 random(static_cast<unsigned>(round));
      for (std::uint64_t i = 0; i < kDirty / 8; ++i) data[i] = random();
      auto start = Clock::now();
      heap->commit();
      result = static_cast<double>(kDirty) / 1e6 / seconds_since(start);
    }
  }
  std::filesystem::remove_all(path);
  return result;
}

void make_durable(const std::string& name, const Buffer& bytes, std::size_t part, std::size_t count) {
  std::string temporary = scratch + "/temporary";
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600));
  for (std::size_t i = 0; i < count; ++i) {
    if (::pwrite(fd.get(), bytes.get(), part, static_cast<off_t>(i * part)) < 0) throw_errno("write");
  }
  UniqueFd directory(::open(scratch.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  bool done = ::fdatasync(fd.get()) == 0 &&
              ::rename(temporary.c_str(), (scratch + "/" + name).c_str()) == 0 &&
              ::fsync(directory.get()) == 0;
  if (!done) throw_errno("sync");
}

double write_much() {
  Buffer bytes = buffer(4 * kMiB);
  auto start = Clock::now();
  make_durable("much", bytes, 4 * kMiB, 64);
  double result = 256 * static_cast<double>(kMiB) / 1e6 / seconds_since(start);
  std::filesystem::remove(scratch + "/much");
  return result;
}

constexpr int kSmallCommits = 30;

double commit_little() {
  auto heap = open_heap();
  std::vector<double> samples;
  for (int i = 0; i < kSmallCommits; ++i) {
    ++heap_data(*heap)[12345];
    auto start = Clock::now();
    heap->commit();
    samples.push_back(seconds_since(start) * 1e6);
  }
  return ckpt::bench::median(samples);
}

// As many bytes as the newest version's segment has, which is one of commit_little().
double write_little() {
  std::uint64_t size = open_heap()->versions().back().disk_bytes;
  Buffer bytes = buffer(size);
  std::vector<double> samples;
  for (int i = 0; i < kSmallCommits; ++i) {
    auto start = Clock::now();
    make_durable(fmt::format("little{}", i % 4), bytes, size, 1);
    samples.push_back(seconds_since(start) * 1e6);
  }
  return ckpt::bench::median(samples);
}

// Millions of allocations per second.
double allocations(unsigned threads, const std::function<void*(std::size_t)>& allocate) {
  constexpr std::size_t kCount = 1000000;
  auto start = Clock::now();
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      for (std::size_t i = 0; i < kCount; ++i)
        *static_cast<volatile char*>(allocate(8 + random() % 4089)) = 1;
    });
  }
  for (std::thread& thread : all) thread.join();
  return kCount * threads / 1e6 / seconds_since(start);
}

// Likewise, in memory that was used before: each thread has as many objects at any time as fit kLiveBytes,
// and replaces one after the other, chosen at random.
double replacements(unsigned threads, const std::function<void*(std::size_t)>& allocate,
                    const std::function<void(void*)>& deallocate) {
  constexpr std::size_t kCount = 1000000;
  constexpr std::size_t kLive = 20000;
  std::barrier<> filled(threads + 1);
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      std::minstd_rand random(t + 1);
      std::vector<void*> live(kLive);
      auto replace = [&](std::size_t at) {
        deallocate(live[at]);
        live[at] = allocate(8 + random() % 4089);
        *static_cast<volatile char*>(live[at]) = 1;
      };
      for (std::size_t i = 0; i < kLive; ++i) replace(i);
      for (std::size_t i = 0; i < kLive; ++i) replace(random() % kLive);
      filled.arrive_and_wait();
      for (std::size_t i = 0; i < kCount; ++i) replace(random() % kLive);
    });
  }
  filled.arrive_and_wait();
  auto start = Clock::now();
  for (std::thread& thread : all) thread.join();
  return kCount * threads / 1e6 / seconds_since(start);
}

double in_fresh_heap(const std::function<double(Heap&)>& measure) {
  std::string path = scratch + "/allocations.heap";
  std::filesystem::remove_all(path);
  double result = 0;
  {
    auto heap = Heap::create(path, {.size = 16384 * kMiB}, {.resident_limit = 8192 * kMiB});
    result = measure(*heap);
  }
  std::filesystem::remove_all(path);
  return result;
}

double allocate_in_heap(unsigned threads) {
  return in_fresh_heap([&](Heap& heap) {
    return allocations(threads, [&](std::size_t size) { return heap.allocate(size); });
  });
}

double replace_in_heap(unsigned threads) {
  return in_fresh_heap([&](Heap& heap) {
    return replacements(
        threads, [&](std::size_t size) { return heap.allocate(size); },
        [&](void* memory) { heap.deallocate(memory); });
  });
}

double allocate_by_libc(unsigned threads) {
  return allocations(threads, [](std::size_t size) { return std::malloc(size); });
}

double replace_by_libc(unsigned threads) {
  return replacements(
      threads, [](std::size_t size) { return std::malloc(size); }, [](void* memory) { std::free(memory); });
}

double open_large() {
  std::string path = scratch + "/large.heap";
  if (!std::filesystem::exists(path)) {
    auto heap = Heap::create(path, {.size = 10240 * kMiB}, {.resident_limit = kResidentBytes});
    auto* data = static_cast<std::uint64_t*>(heap->allocate(9216 * kMiB));
    for (std::uint64_t i = 0; i < 9216 * kMiB / 8; i += kPage) data[i] = i + 1;  // every eighth page
    heap->set_root("data", data);
    heap->commit();
  }
  auto start = Clock::now();
  auto heap = Heap::open(path, {.resident_limit = kResidentBytes});
  (void)*const_cast<volatile std::uint64_t*>(heap_data(*heap) + 500 * kPage);
  return seconds_since(start) * 1e3;
}

// As many pairs as take four times the memory that the heap may have; for LMDB a memory cgroup sets the
// limit, as it does for the heap.
Row insert_row() {
  const char* given = std::getenv("HEAP_BENCH_PAIRS");
  std::uint64_t count = given != nullptr ? std::strtoull(given, nullptr, 10) : 1'000'000;
  constexpr std::uint64_t kPairsPerCommit = 100'000;
  constexpr std::uint64_t kBesides = 80 * kMiB;
  ckpt::bench::PairsToInsert pairs{.count = count,
                                   .per_commit = kPairsPerCommit,
                                   .resident_bytes = count * ckpt::bench::PairsToInsert::kPairBytes / 4};
  return {.name = fmt::format("insert {} pairs / LMDB", count),
          .unit = "s",
          .reach = 2,
          .ours = [pairs] { return ckpt::bench::insert_pairs_in_heap(scratch, pairs); },
          .other = [pairs] { return ckpt::bench::insert_pairs_in_lmdb(scratch, pairs); },
          .our_limit = pairs.resident_bytes + kBesides,
          .other_limit = pairs.resident_bytes + kBesides};
}

std::vector<Row> rows() {
  std::vector<Row> all{
      random_row("random reads, 1 thread", 1, false),
      random_row("random reads, 2 threads", 2, false),
      random_row("random read-modify-write", 1, true),
      {.name = "sequential scan / O_DIRECT",
       .unit = "MB/s",
       .reach = 0.7,
       .less_is_better = false,
       .ours = scan_heap,
       .other = read_directly},
      {.name = "minor refault / bare handler",
       .unit = "us",
       .reach = 1 / 1.2,
       .ours = refault_heap,
       .other = refault_bare},
      {.name = "commit 256 MiB / O_DIRECT",
       .unit = "MB/s",
       .reach = 0.6,
       .less_is_better = false,
       .ours = commit_much,
       .other = write_much},
      {.name = "commit one page / bare",
       .unit = "us",
       .reach = 1 / 1.5,
       .ours = commit_little,
       .other = write_little},
      {.name = "allocations, 1 thread / malloc",
       .unit = "M/s",
       .reach = 0.5,
       .less_is_better = false,
       .ours = [] { return allocate_in_heap(1); },
       .other = [] { return allocate_by_libc(1); }},
      {.name = "allocations, 2 threads / 1",
       .unit = "M/s",
       .reach = 1.6,
       .less_is_better = false,
       .ours = [] { return allocate_in_heap(2); },
       .other = [] { return allocate_in_heap(1); }},
      // What the machine gives two threads that touch fresh memory, for the row above.
      {.name = "malloc, 2 threads / 1",
       .unit = "M/s",
       .reach = 0,
       .less_is_better = false,
       .ours = [] { return allocate_by_libc(2); },
       .other = [] { return allocate_by_libc(1); }},
      {.name = "replacements, 1 thread / malloc",
       .unit = "M/s",
       .reach = 0.5,
       .less_is_better = false,
       .ours = [] { return replace_in_heap(1); },
       .other = [] { return replace_by_libc(1); }},
      {.name = "replacements, 2 threads / 1",
       .unit = "M/s",
       .reach = 1.6,
       .less_is_better = false,
       .ours = [] { return replace_in_heap(2); },
       .other = [] { return replace_in_heap(1); }},
      {.name = "open 10 GiB and read", .unit = "ms", .reach = 20, .ours = open_large, .other = {}},
  };
  if (ckpt::bench::has_lmdb()) all.push_back(insert_row());
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    ckpt::tests::TemporaryDirectory directory(argc > 1 ? argv[1] : "/var/tmp");
    int rounds = argc > 2 ? std::atoi(argv[2]) : 3;
    std::string only = argc > 3 ? argv[3] : "";
    heap_path = directory.file("data.heap");
    file_path = directory.file("data.file");
    scratch = directory.path();
    prepare();
    for (const Row& row : rows()) {
      if (row.name.find(only) != std::string::npos) run_row(row, rounds);
    }
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "heap_bench: {}\n", error.what());
    return 1;
  }
}
