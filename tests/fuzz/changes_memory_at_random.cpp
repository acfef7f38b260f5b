// The program that memory_fuzzer checkpoints: threads that do to their memory whatever a program may do, at
// random. It checks nothing itself; what counts is that the whole of it is saved as it is.
//
//   changes_memory_at_random SEED THREADS DATA_FILE PROGRESS_FILE
//
// Each thread touches only memory of its own, so that no access fails; calls may fail (a file system without
// O_DIRECT, a kernel without guard pages). What other threads must not see half done needs no care: a
// checkpoint shows it as it is.
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include <algorithm>
#include <memory>
#include <span>
#include <string>

#include "../programs/changes_all_the_time.h"
#include "progress.h"

namespace {

constexpr std::size_t kPage = kTargetPageBytes;
constexpr std::size_t kHugePage = 512 * kPage;
constexpr std::size_t kMostRegions = 10;
constexpr std::size_t kMostPages = 768;
constexpr std::size_t kFilePages = 256;
constexpr std::size_t kHeapPages = 256;
constexpr int kCollapse = 25;       // Linux 6.1, not in the headers of glibc 2.36
constexpr int kGuardInstall = 102;  // Linux 6.13
constexpr int kGuardRemove = 103;

const char* data_file;
Progress* progress;

int open_data(int flags) { return ::open(data_file, flags | O_CLOEXEC); }

void make_data_file() {
  int fd = ::open(data_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  target_require(fd >= 0, data_file);
  std::vector<std::uint64_t> words(kFilePages * kPage / 8);
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = target_mix(i, 4711);
  auto bytes = static_cast<ssize_t>(words.size() * 8);
  target_require(::write(fd, words.data(), words.size() * 8) == bytes && ::fsync(fd) == 0, data_file);
  ::close(fd);
}

enum class Kind { kPrivate, kPrivateFile, kShared, kMemfd };

struct Part {
  char* start;
  std::size_t pages;
  std::size_t bytes() const { return pages * kPage; }
};

// A range of memory that was mapped in one call; parts of it may have other protections by now, none is
// missing.
class Region {
 public:
  Region(Kind kind, char* start, std::size_t pages)
      : kind_(kind), start_(start), protections_(pages, PROT_READ | PROT_WRITE), guarded_(pages, false) {}

  Kind kind() const { return kind_; }
  char* start() const { return start_; }
  std::size_t pages() const { return protections_.size(); }
  std::size_t bytes() const { return pages() * kPage; }
  Part all() const { return {start_, pages()}; }

  Part some(TargetRandom& random, std::size_t most = kMostPages) const {
    const std::size_t first = random.below(pages());
    const std::size_t count = random.below(std::min(most, pages() - first)) + 1;
    return {start_ + first * kPage, count};
  }

  bool allows(std::size_t page, int access) const {
    return (protections_[page] & access) == access && !guarded_[page];
  }
  void protect(const Part& part, int protection) {
    if (::mprotect(part.start, part.bytes(), protection) != 0) return;
    std::fill_n(protections_.begin() + index_of(part), part.pages, protection);
  }
  // True if nothing of it is guarded, which most calls refuse or, worse, do not.
  bool guarded(const Part& part) const {
    return std::any_of(guarded_.begin() + index_of(part), guarded_.begin() + index_of(part) + length_of(part),
                       [](bool guard) { return guard; });
  }
  void guard(const Part& part, bool on) {
    if (::madvise(part.start, part.bytes(), on ? kGuardInstall : kGuardRemove) != 0) return;
    std::fill_n(guarded_.begin() + index_of(part), part.pages, on);
  }
  bool uniform() const {
    return std::ranges::count(protections_, protections_.front()) == length_of(all()) && !guarded(all());
  }
  void moved(char* start, std::size_t pages) {
    start_ = start;
    protections_.resize(pages, protections_.front());
    guarded_.resize(pages, false);
  }

 private:
  std::ptrdiff_t index_of(const Part& part) const { return (part.start - start_) / static_cast<long>(kPage); }
  static std::ptrdiff_t length_of(const Part& part) { return static_cast<std::ptrdiff_t>(part.pages); }

  Kind kind_;
  char* start_;
  std::vector<int> protections_;
  std::vector<bool> guarded_;
};

// --- asynchronous reads into memory; both are set up, used and gone within one operation, because what is
// open at a checkpoint is refused.

void read_by_aio(const Part& part, std::size_t file_page) {
  aio_context_t context = 0;
  if (::syscall(SYS_io_setup, 4, &context) != 0) return;
  int fd = open_data(O_RDONLY | O_DIRECT);
  iocb request{};
  request.aio_lio_opcode = IOCB_CMD_PREAD;
  request.aio_fildes = static_cast<unsigned>(fd);
  request.aio_buf = reinterpret_cast<std::uintptr_t>(part.start);
  request.aio_nbytes = part.bytes();
  request.aio_offset = static_cast<std::int64_t>(file_page * kPage);
  iocb* requests = &request;
  io_event event{};
  if (::syscall(SYS_io_submit, context, 1, &requests) == 1)
    ::syscall(SYS_io_getevents, context, 1, 1, &event, nullptr);
  ::syscall(SYS_io_destroy, context);
  ::close(fd);
}

class Ring {
 public:
  Ring() {
    descriptor_ = static_cast<int>(::syscall(SYS_io_uring_setup, 4, &parameters_));
    if (descriptor_ < 0) return;
    rings_bytes_ = std::max(parameters_.sq_off.array + parameters_.sq_entries * sizeof(unsigned),
                            parameters_.cq_off.cqes + parameters_.cq_entries * sizeof(io_uring_cqe));
    rings_ = map(rings_bytes_, IORING_OFF_SQ_RING);
    entries_ = map(parameters_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
  }
  ~Ring() {
    if (rings_ != nullptr) ::munmap(rings_, rings_bytes_);
    if (entries_ != nullptr) ::munmap(entries_, parameters_.sq_entries * sizeof(io_uring_sqe));
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // With a buffer registered beforehand its pages are pinned, and writes to them pass the page tables by.
  void read(int fd, const Part& part, std::size_t file_page, bool registered) {
    if (rings_ == nullptr || entries_ == nullptr) return;
    iovec buffer{part.start, part.bytes()};
    if (registered && ::syscall(SYS_io_uring_register, descriptor_, IORING_REGISTER_BUFFERS, &buffer, 1) != 0)
      return;
    auto* entry = static_cast<io_uring_sqe*>(static_cast<void*>(entries_));
    *entry = {};
    entry->opcode = registered ? IORING_OP_READ_FIXED : IORING_OP_READ;
    entry->fd = fd;
    entry->addr = reinterpret_cast<std::uintptr_t>(part.start);
    entry->len = static_cast<unsigned>(part.bytes());
    entry->off = file_page * kPage;
    word(parameters_.sq_off.array) = 0;
    __atomic_store_n(&word(parameters_.sq_off.tail), word(parameters_.sq_off.tail) + 1, __ATOMIC_RELEASE);
    ::syscall(SYS_io_uring_enter, descriptor_, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0);
  }

 private:
  char* map(std::size_t bytes, std::uint64_t what) const {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor_,
                          static_cast<off_t>(what));
    return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
  }
  unsigned& word(std::size_t offset) { return *static_cast<unsigned*>(static_cast<void*>(rings_ + offset)); }

  io_uring_params parameters_{};
  int descriptor_ = -1;
  std::size_t rings_bytes_ = 0;
  char* rings_ = nullptr;
  char* entries_ = nullptr;
};

// --- one thread
// -----------------------------------------------------------------------------------------------------

class Changer {
 public:
  void change(TargetRandom& random) {
    if (regions_.size() < 2 || (regions_.size() < kMostRegions && random.below(20) == 0)) return map(random);
    const std::size_t number = random.below(regions_.size());
    Region& region = regions_[number];
    struct Operation {
      unsigned weight;
      void (Changer::*run)(Region&, TargetRandom&);
    };
    static constexpr std::array<Operation, 13> kOperations{{{400, &Changer::write},
                                                            {100, &Changer::read},
                                                            {40, &Changer::advise},
                                                            {40, &Changer::discard},
                                                            {30, &Changer::protect},
                                                            {20, &Changer::remap},
                                                            {40, &Changer::guard},
                                                            {40, &Changer::read_file},
                                                            {20, &Changer::read_direct},
                                                            {20, &Changer::read_pipe},
                                                            {1, &Changer::aio},
                                                            {1, &Changer::ring},
                                                            {4, &Changer::fork_child}}};
    constexpr unsigned kUnmapWeight = 10;
    unsigned total = kUnmapWeight;
    for (const Operation& operation : kOperations) total += operation.weight;
    auto chosen = static_cast<unsigned>(random.below(total));
    if (chosen < kUnmapWeight) return unmap(number);
    chosen -= kUnmapWeight;
    for (const Operation& operation : kOperations) {
      if (chosen < operation.weight) return (this->*operation.run)(region, random);
      chosen -= operation.weight;
    }
  }

 private:
  void map(TargetRandom& random) {
    const auto kind = static_cast<Kind>(random.below(8) < 5 ? 0 : random.below(3) + 1);
    std::size_t pages = random.below(kMostPages) + 1;
    int flags = kind == Kind::kPrivate || kind == Kind::kPrivateFile ? MAP_PRIVATE : MAP_SHARED;
    int fd = -1;
    if (kind == Kind::kPrivate || kind == Kind::kShared) flags |= MAP_ANONYMOUS;
    if (kind == Kind::kPrivateFile) {
      fd = open_data(O_RDONLY);
      pages = std::min(pages, kFilePages);
    }
    if (kind == Kind::kMemfd) {
      fd = ::memfd_create("fuzzed", MFD_CLOEXEC);
      if (::ftruncate(fd, static_cast<off_t>(pages * kPage)) != 0) return;
    }
    if (random.below(4) == 0) flags |= MAP_POPULATE;
    if (random.below(4) == 0) flags |= MAP_NORESERVE;
    void* memory = ::mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (fd >= 0) ::close(fd);
    if (memory != MAP_FAILED) regions_.emplace_back(kind, static_cast<char*>(memory), pages);
  }

  void unmap(std::size_t number) {
    ::munmap(regions_[number].start(), regions_[number].bytes());
    regions_.erase(regions_.begin() + static_cast<std::ptrdiff_t>(number));
  }

  void write(Region& region, TargetRandom& random) {
    for (std::uint64_t left = random.below(16) + 1; left > 0; --left) {
      const std::size_t page = random.below(region.pages());
      if (!region.allows(page, PROT_WRITE)) continue;
      const std::uint64_t value = random.below(8) == 0 ? 0 : random.next();  // some pages become zero again
      memcpy(region.start() + page * kPage + random.below(kPage / 8) * 8, &value, sizeof(value));
    }
  }

  void read(Region& region, TargetRandom& random) {
    for (std::uint64_t left = random.below(16) + 1; left > 0; --left) {
      const std::size_t page = random.below(region.pages());
      if (region.allows(page, PROT_READ))
        sum_ = sum_ + static_cast<unsigned char>(region.start()[page * kPage]);
    }
  }

  void advise(Region& region, TargetRandom& random) {
    static constexpr std::array<int, 13> kAdvices{
        MADV_HUGEPAGE, MADV_NOHUGEPAGE, kCollapse,  MADV_WIPEONFORK, MADV_KEEPONFORK,
        MADV_DONTFORK, MADV_DOFORK,     MADV_COLD,  MADV_PAGEOUT,    MADV_DONTDUMP,
        MADV_DODUMP,   MADV_RANDOM,     MADV_NORMAL};
    const Part part = random.below(3) == 0 ? region.all() : region.some(random);
    ::madvise(part.start, part.bytes(), kAdvices[random.below(kAdvices.size())]);
  }

  void discard(Region& region, TargetRandom& random) {
    static constexpr std::array<int, 3> kAdvices{MADV_DONTNEED, MADV_FREE, MADV_POPULATE_WRITE};
    const Part part = region.some(random);
    if (!region.guarded(part)) ::madvise(part.start, part.bytes(), kAdvices[random.below(kAdvices.size())]);
  }

  void protect(Region& region, TargetRandom& random) {
    static constexpr std::array<int, 4> kProtections{PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                                                     PROT_READ, PROT_NONE};
    region.protect(random.below(3) == 0 ? region.all() : region.some(random),
                   kProtections[random.below(kProtections.size())]);
  }

  // Elsewhere, to another size, or elsewhere with the old place left empty.
  void remap(Region& region, TargetRandom& random) {
    if (!region.uniform()) return region.protect(region.all(), PROT_READ | PROT_WRITE);
    if (random.below(3) == 0 && region.kind() == Kind::kPrivate) {
      void* moved =
          ::mremap(region.start(), region.bytes(), region.bytes(), MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
      if (moved == MAP_FAILED) return;
      ::munmap(region.start(), region.bytes() / kPage / 2 * kPage);
      left_behind_.push_back(
          {region.start() + region.bytes() / kPage / 2 * kPage, region.pages() - region.bytes() / kPage / 2});
      region.moved(static_cast<char*>(moved), region.pages());
      if (left_behind_.size() > 4) {
        ::munmap(left_behind_.front().start, left_behind_.front().bytes());
        left_behind_.erase(left_behind_.begin());
      }
      return;
    }
    // Behind the end of a file there is nothing to touch.
    const bool may_grow = region.kind() == Kind::kPrivate;
    const std::size_t pages = random.below(may_grow ? kMostPages : region.pages()) + 1;
    const std::size_t reserved = pages * kPage + kHugePage;
    void* place = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) return;
    void* moved =
        ::mremap(region.start(), region.bytes(), pages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    const std::size_t used = moved == MAP_FAILED ? 0 : pages * kPage;
    ::munmap(static_cast<char*>(place) + used, reserved - used);
    if (moved != MAP_FAILED) region.moved(static_cast<char*>(moved), pages);
  }

  void guard(Region& region, TargetRandom& random) {
    if (region.kind() != Kind::kPrivate) return;
    region.guard(region.some(random, 8), random.below(2) == 0);
  }

  void read_file(Region& region, TargetRandom& random) { read_from(open_data(O_RDONLY), region, random); }
  void read_direct(Region& region, TargetRandom& random) {
    read_from(open_data(O_RDONLY | O_DIRECT), region, random);
  }
  void read_from(int fd, Region& region, TargetRandom& random) {
    const Part part = region.some(random, 32);
    const auto offset = static_cast<off_t>(random.below(kFilePages - 32) * kPage);
    if (::pread(fd, part.start, part.bytes(), offset) < 0) progress->failed_reads.fetch_add(1);
    ::close(fd);
  }

  void read_pipe(Region& region, TargetRandom& random) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) return;
    const std::uint64_t value = random.next();
    const Part part = region.some(random, 1);
    if (::write(pipe[1], &value, sizeof(value)) == sizeof(value) &&
        ::read(pipe[0], part.start + random.below(500) * 8, sizeof(value)) < 0)
      progress->failed_reads.fetch_add(1);
    ::close(pipe[0]);
    ::close(pipe[1]);
  }

  void aio(Region& region, TargetRandom& random) {
    read_by_aio(region.some(random, 32), random.below(kFilePages - 32));
  }

  void ring(Region& region, TargetRandom& random) {
    int fd = open_data(random.below(2) == 0 ? O_RDONLY : O_RDONLY | O_DIRECT);
    Ring().read(fd, region.some(random, 32), random.below(kFilePages - 32), random.below(2) == 0);
    ::close(fd);
  }

  void fork_child(Region&, TargetRandom&) {
    pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    if (child > 0) ::waitpid(child, nullptr, 0);
  }

  std::vector<Region> regions_;
  std::vector<Part> left_behind_;
  volatile std::uint64_t sum_ = 0;
};

// --- the main thread
// ------------------------------------------------------------------------------------------------

// Its stack is the one that grows by itself, and the heap that ends at brk is used by nothing else.
class MainChanger {
 public:
  MainChanger() {
    const auto end = reinterpret_cast<std::uintptr_t>(::sbrk(0));
    heap_ = reinterpret_cast<char*>((end + kPage - 1) / kPage * kPage);
  }

  void change(TargetRandom& random) {
    const std::size_t pages = random.below(kHeapPages);
    if (::brk(heap_ + pages * kPage) != 0) return;
    for (std::size_t left = random.below(16); left > 0 && pages > 0; --left)
      heap_[random.below(pages * kPage)] = static_cast<char>(random.next());
    descend(random.below(random.below(50) == 0 ? 200 : 20), random);
  }

 private:
  static std::uint64_t descend(std::uint64_t depth, TargetRandom& random) {
    std::array<volatile std::uint64_t, kPage / 8> frame;
    for (std::size_t i = 0; i < frame.size(); i += 64) frame[i] = random.next();
    const std::uint64_t below = depth == 0 ? 0 : descend(depth - 1, random);
    return below + frame[0];
  }

  char* heap_;
};

Progress* map_progress(const char* path) {
  int fd = ::open(path, O_RDWR | O_CLOEXEC);
  target_require(fd >= 0, path);
  void* memory = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  target_require(memory != MAP_FAILED, path);
  ::close(fd);
  return static_cast<Progress*>(memory);
}

void change_for_ever(unsigned seed, unsigned threads) {
  std::vector<std::thread> changers;
  for (unsigned thread = 1; thread <= threads; ++thread) {
    changers.emplace_back([seed, thread] {
      TargetRandom random(target_mix(seed, thread));
      Changer changer;
      for (;;) {
        for (int i = 0; i < 100; ++i) changer.change(random);
        progress->operations.fetch_add(100);
        if (random.below(4) == 0) target_sleep_ms(1);
      }
    });
  }
  TargetRandom random(target_mix(seed, 0));
  MainChanger changer;
  for (;;) {
    changer.change(random);
    target_sleep_ms(1);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s SEED THREADS DATA_FILE PROGRESS_FILE\n", argv[0]);
    return 2;
  }
  ::mallopt(M_MMAP_THRESHOLD, 0);
  ::mallopt(M_TOP_PAD, 0);
  data_file = argv[3];
  progress = map_progress(argv[4]);
  make_data_file();
  change_for_ever(static_cast<unsigned>(std::strtoul(argv[1], nullptr, 10)),
                  static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)));
}
