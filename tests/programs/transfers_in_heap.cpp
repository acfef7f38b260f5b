// A bank in a persistent heap, for tests that kill it: money moves between accounts on different pages, notes
// are allocated and freed, the heap grows and is rolled back, and every commit must find the same sum of
// money. The heap has lines of several sizes, which change from time to time.
//
//   transfers_in_heap HEAP COMMITS    checks what is there, then works; prints "commit N" after each; ends
//   with "ok"
//
// What it checks when it starts, and after each rollback: the sum of all accounts; that the list of notes is
// as long as it says, and each note intact; that the numbers of the last commit on the first and on the last
// page agree.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "vmheap/heap.h"

namespace {

using ckpt::vmheap::Heap;

constexpr std::size_t kAccounts = 1 << 19;  // 4 MiB
constexpr std::int64_t kMoney = 1000;
constexpr std::uint64_t kMiB = 1 << 20;

struct Note {
  Note* next;
  std::uint64_t size;
  std::uint64_t sum;  // of the bytes after it
};

struct Bank {
  std::uint64_t first_number = 0;
  std::uint64_t note_count = 0;
  Note* notes = nullptr;
  std::int64_t* accounts = nullptr;
  std::uint64_t* last_number = nullptr;
};

void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

void check(const Bank& bank) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < kAccounts; ++i) sum += bank.accounts[i];
  require(sum == static_cast<std::int64_t>(kAccounts) * kMoney, "the accounts hold " + std::to_string(sum));
  require(bank.first_number == *bank.last_number, "commits " + std::to_string(bank.first_number) + " and " +
                                                      std::to_string(*bank.last_number) + " are mixed");
  std::uint64_t count = 0;
  for (const Note* note = bank.notes; note != nullptr; note = note->next, ++count) {
    require(count < bank.note_count, "there are more notes than " + std::to_string(bank.note_count));
    std::uint64_t note_sum = 0;
    const auto* bytes = reinterpret_cast<const unsigned char*>(note + 1);
    for (std::uint64_t i = 0; i < note->size; ++i) note_sum += bytes[i];
    require(note_sum == note->sum, "a note changed");
  }
  require(count == bank.note_count,
          std::to_string(count) + " notes instead of " + std::to_string(bank.note_count));
}

Bank* make_bank(Heap& heap) {
  Bank* bank = heap.construct<Bank>();
  bank->accounts = static_cast<std::int64_t*>(heap.allocate(kAccounts * sizeof(std::int64_t)));
  for (std::size_t i = 0; i < kAccounts; ++i) bank->accounts[i] = kMoney;
  bank->last_number = heap.construct<std::uint64_t>(0);
  heap.set_root("bank", bank);
  heap.commit();
  return bank;
}

void add_note(Heap& heap, Bank& bank, std::mt19937_64& random) {
  std::uint64_t size = random() % 20 == 0 ? random() % 200000 : random() % 2000;
  auto* note = static_cast<Note*>(heap.allocate(sizeof(Note) + size));
  if (note == nullptr) {
    heap.grow(heap.size() + 16 * kMiB, static_cast<std::uint32_t>(4096U << random() % 5));
    return;
  }
  auto fill = static_cast<unsigned char>(random());
  *note = {.next = bank.notes, .size = size, .sum = fill * size};
  std::memset(note + 1, fill, size);
  bank.notes = note;
  ++bank.note_count;
}

void remove_note(Heap& heap, Bank& bank) {
  Note* note = bank.notes;
  if (note == nullptr) return;
  bank.notes = note->next;
  --bank.note_count;
  heap.deallocate(note);
}

void change_lines(Heap& heap, std::mt19937_64& random) {
  std::uint64_t begin = random() % (heap.size() / kMiB);
  heap.set_line_bytes(heap.base() + begin * kMiB, kMiB, static_cast<std::uint32_t>(4096U << random() % 5));
}

void change(Heap& heap, Bank& bank, std::mt19937_64& random) {
  for (std::uint64_t left = random() % 400; left > 0; --left) {
    std::int64_t amount = static_cast<std::int64_t>(random() % 100);
    bank.accounts[random() % kAccounts] -= amount;
    bank.accounts[random() % kAccounts] += amount;
    if (left % 8 == 0)
      bank.note_count < 300 && random() % 5 < 3 ? add_note(heap, bank, random) : remove_note(heap, bank);
  }
}

void work(Heap& heap, Bank& bank, std::uint64_t commits) {
  std::mt19937_64 random(std::random_device{}());
  while (commits > 0) {
    change(heap, bank, random);
    if (random() % 16 == 0) change_lines(heap, random);
    if (random() % 16 == 0) {
      heap.roll_back();
      check(bank);
      continue;
    }
    *bank.last_number = ++bank.first_number;
    heap.commit_in_background();
    // What the next commit takes; this one must not see it.
    bank.accounts[random() % kAccounts] -= 1;
    bank.accounts[random() % kAccounts] += 1;
    heap.wait_for_commit();
    std::printf("commit %llu\n", static_cast<unsigned long long>(bank.first_number));
    std::fflush(stdout);
    --commits;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    auto heap = Heap::open_or_create(
        argv[1],
        {.size = 16 * kMiB, .regions = {{.begin = 2 * kMiB, .size = 2 * kMiB, .line_bytes = 1 << 16}}},
        {.resident_limit = kMiB});
    auto* bank = static_cast<Bank*>(heap->root("bank"));
    if (bank == nullptr) bank = make_bank(*heap);
    check(*bank);
    std::printf("found %llu\n", static_cast<unsigned long long>(bank->first_number));
    std::fflush(stdout);
    work(*heap, *bank, std::strtoull(argv[2], nullptr, 10));
    check(*bank);
    std::printf("ok\n");
    return 0;
  } catch (const std::exception& error) {
    std::printf("WRONG: %s\n", error.what());
    return 1;
  }
}
