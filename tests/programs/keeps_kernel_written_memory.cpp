// Memory that the kernel writes on the program's behalf: by read and preadv from a file, by reads that bypass
// the page cache (O_DIRECT), through pipes, and by recv. What a page must hold follows from where it was read
// from, so a write that a checkpoint missed is noticed.
//
//   keeps_kernel_written_memory FILE GO_FILE     makes FILE; sockets exist only for moments
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <memory>
#include <mutex>

#include "changes_all_the_time.h"

namespace {

constexpr unsigned kThreads = 4;
constexpr std::size_t kFilePages = 1024;
constexpr std::size_t kPagesPerThread = 1024;
constexpr std::size_t kMostPagesAtOnce = 16;
constexpr std::uint64_t kReadsBetweenSockets = 4096;

using Words = std::array<std::uint64_t, kTargetPageBytes / sizeof(std::uint64_t)>;

void make_page(Words& page, std::uint64_t source) {
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = target_mix(source + 1, i);
}

void make_file(const char* path) {
  int fd = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  target_require(fd >= 0, path);
  Words page;
  for (std::size_t i = 0; i < kFilePages; ++i) {
    make_page(page, i);
    target_require(::write(fd, &page, sizeof(page)) == sizeof(page), path);
  }
  target_require(::fsync(fd) == 0 && ::close(fd) == 0, path);
}

void require_bytes(ssize_t got, std::size_t wanted, const char* what) {
  if (got == static_cast<ssize_t>(wanted)) return;
  target_violated("%s: %zd instead of %zu bytes (%s)", what, got, wanted,
                  got < 0 ? strerror(errno) : "short");
}

// One thread's memory, and the page of the file that each of its pages must hold.
class Reader {
 public:
  explicit Reader(const char* path) : sources_(kPagesPerThread, kNothing) {
    void* memory = ::mmap(nullptr, kPagesPerThread * kTargetPageBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    target_require(memory != MAP_FAILED, "map memory");
    pages_ = static_cast<Words*>(memory);
    file_ = ::open(path, O_RDONLY | O_CLOEXEC);
    target_require(file_ >= 0, path);
    direct_ = ::open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (direct_ < 0) direct_ = file_;  // a file system in memory
    target_require(::pipe2(pipe_.data(), O_CLOEXEC) == 0, "pipe");
  }

  void change(TargetRandom& random) {
    std::lock_guard lock(mutex_);
    const Range range{.first = random.below(kPagesPerThread - kMostPagesAtOnce),
                      .count = random.below(kMostPagesAtOnce) + 1,
                      .source = random.below(kFilePages - kMostPagesAtOnce)};
    if (random.below(kReadsBetweenSockets) == 0) {
      receive(range);
    } else {
      switch (random.below(4)) {
        case 0:
          read_file(file_, range);
          break;
        case 1:
          read_file(direct_, range);
          break;
        case 2:
          read_vector(range);
          break;
        default:
          read_pipe(range);
          break;
      }
    }
    for (std::size_t i = 0; i < range.count; ++i) sources_[range.first + i] = range.source + i;
    check(range.first, range.count);
  }

  void check_all() {
    std::lock_guard lock(mutex_);
    check(0, kPagesPerThread);
  }

 private:
  static constexpr std::uint64_t kNothing = ~std::uint64_t{0};

  struct Range {
    std::size_t first;     // in our memory
    std::size_t count;     // pages
    std::uint64_t source;  // in the file
    std::size_t bytes() const { return count * kTargetPageBytes; }
    off_t offset() const { return static_cast<off_t>(source * kTargetPageBytes); }
  };

  void read_file(int fd, const Range& range) {
    require_bytes(::pread(fd, pages_ + range.first, range.bytes(), range.offset()), range.bytes(), "pread");
  }

  void read_vector(const Range& range) {
    std::array<iovec, kMostPagesAtOnce> parts{};
    for (std::size_t i = 0; i < range.count; ++i) parts[i] = {pages_ + range.first + i, kTargetPageBytes};
    require_bytes(::preadv(file_, parts.data(), static_cast<int>(range.count), range.offset()), range.bytes(),
                  "preadv");
  }

  // A pipe holds 16 pages.
  void read_pipe(const Range& range) {
    for (std::size_t i = 0; i < range.count; ++i) {
      Words page;
      make_page(page, range.source + i);
      require_bytes(::write(pipe_[1], &page, sizeof(page)), sizeof(page), "write to a pipe");
      require_bytes(::read(pipe_[0], pages_ + range.first + i, sizeof(page)), sizeof(page),
                    "read from a pipe");
    }
  }

  // A checkpoint that meets an open socket is refused, so they are rare and short-lived.
  void receive(const Range& range) {
    std::array<int, 2> sockets{};
    Words page;
    require_bytes(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()), 0, "socketpair");
    for (std::size_t i = 0; i < range.count; ++i) {
      make_page(page, range.source + i);
      require_bytes(::send(sockets[1], &page, sizeof(page), 0), sizeof(page), "send");
      require_bytes(::recv(sockets[0], pages_ + range.first + i, sizeof(page), MSG_WAITALL), sizeof(page),
                    "recv");
    }
    ::close(sockets[0]);
    ::close(sockets[1]);
  }

  void check(std::size_t first, std::size_t count) const {
    for (std::size_t page = first; page < first + count; ++page) {
      for (std::size_t i = 0; i < pages_[page].size(); ++i) {
        const std::uint64_t expected = sources_[page] == kNothing ? 0 : target_mix(sources_[page] + 1, i);
        if (pages_[page][i] == expected) continue;
        target_violated("page at %p, read from page %lld, word %zu: %llx instead of %llx",
                        static_cast<const void*>(&pages_[page]), static_cast<long long>(sources_[page]), i,
                        static_cast<unsigned long long>(pages_[page][i]),
                        static_cast<unsigned long long>(expected));
      }
    }
  }

  std::mutex mutex_;
  Words* pages_ = nullptr;
  std::vector<std::uint64_t> sources_;
  int file_ = -1;
  int direct_ = -1;
  std::array<int, 2> pipe_{};
};

}  // namespace

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s FILE GO_FILE\n", argv[0]);
    return 2;
  }
  make_file(argv[1]);
  std::vector<std::unique_ptr<Reader>> readers;
  for (unsigned i = 0; i < kThreads; ++i) readers.push_back(std::make_unique<Reader>(argv[1]));
  return change_all_the_time(
      go_file, kThreads, [&](unsigned thread, TargetRandom& random) { readers[thread]->change(random); },
      [&] {
        for (auto& reader : readers) reader->check_all();
      });
}
