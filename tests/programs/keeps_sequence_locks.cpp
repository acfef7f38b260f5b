// Records that lie across two pages, each behind a sequence lock: readers that meet an even number twice must
// find both halves of that number. Writers keep the numbers of their records in memory of their own, so that
// a record as a whole is never older or newer than its writer. Takes the go file; see changes_all_the_time.h.
#include <sys/mman.h>

#include "changes_all_the_time.h"

namespace {

constexpr std::size_t kRecords = 4096;
constexpr std::size_t kWords = 64;  // half of them on either page
constexpr unsigned kThreads = 4;

struct Record {
  std::atomic<std::uint64_t> sequence;
  std::array<std::atomic<std::uint64_t>, kWords - 1> words;
};
static_assert(sizeof(Record) == kWords * sizeof(std::uint64_t));

class Records {
 public:
  Records() {
    constexpr std::size_t kBytes = (kRecords + 1) * kTargetPageBytes;
    void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    target_require(memory != MAP_FAILED, "map memory");
    memory_ = static_cast<char*>(memory);
    for (std::size_t number = 0; number < kRecords; ++number) write(number, 0);
    for (auto& numbers : own_numbers_) numbers.assign(kRecords, 0);
  }

  // Every record has one writer.
  void change(unsigned thread, TargetRandom& random) {
    const std::size_t number = random.below(kRecords / kThreads) * kThreads + thread;
    std::uint64_t& own = own_numbers_[thread][number];
    if (record(number).sequence != own)
      target_violated("record %zu at %p is number %llu, but its writer last wrote %llu", number,
                      static_cast<void*>(&record(number)),
                      static_cast<unsigned long long>(record(number).sequence.load()),
                      static_cast<unsigned long long>(own));
    own += 2;
    write(number, own);
    read(random.below(kRecords));
  }

  void check() {
    for (std::size_t number = 0; number < kRecords; ++number) read(number);
  }

 private:
  // The page boundary is in its middle.
  Record& record(std::size_t number) {
    return *reinterpret_cast<Record*>(memory_ + (number + 1) * kTargetPageBytes - sizeof(Record) / 2);
  }

  static std::uint64_t word(std::size_t number, std::uint64_t sequence, std::size_t index) {
    return target_mix(sequence, number * kWords + index);
  }

  void write(std::size_t number, std::uint64_t sequence) {
    Record& written = record(number);
    written.sequence.store(sequence - 1, std::memory_order_relaxed);  // odd
    std::atomic_thread_fence(std::memory_order_release);
    for (std::size_t i = 0; i < written.words.size(); ++i)
      written.words[i].store(word(number, sequence, i), std::memory_order_relaxed);
    written.sequence.store(sequence, std::memory_order_release);
  }

  // A record that is being written is left alone: its writer will be met elsewhere.
  void read(std::size_t number) {
    Record& read = record(number);
    const std::uint64_t sequence = read.sequence.load(std::memory_order_acquire);
    if (sequence % 2 != 0) return;
    std::array<std::uint64_t, kWords - 1> words;
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = read.words[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (read.sequence.load(std::memory_order_relaxed) != sequence) return;
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == word(number, sequence, i)) continue;
      target_violated("record %zu at %p, number %llu: word %zu is of another one", number,
                      static_cast<void*>(&read), static_cast<unsigned long long>(sequence), i);
    }
  }

  char* memory_ = nullptr;
  std::array<std::vector<std::uint64_t>, kThreads> own_numbers_;
};

}  // namespace

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  Records records;
  return change_all_the_time(
      go_file, kThreads, [&](unsigned thread, TargetRandom& random) { records.change(thread, random); },
      [&] { records.check(); });
}
