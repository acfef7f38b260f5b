#include "pairs.h"

#ifdef CKPT_BENCH_LMDB
#include <lmdb.h>
#endif
#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "vmheap/heap.h"

namespace ckpt::bench {
namespace {

using Clock = std::chrono::steady_clock;
using Value = std::array<std::uint8_t, 100>;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// All different, in no order: a bijection (the finalizer of splitmix64).
std::uint64_t key_of(std::uint64_t number) {
  number = (number + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
  number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
  return number ^ (number >> 31);
}

Value value_of(std::uint64_t number) {
  Value value{};
  for (std::size_t at = 0; at + sizeof number <= value.size(); at += sizeof number) {
    number = key_of(number);
    std::memcpy(value.data() + at, &number, sizeof number);
  }
  return value;
}

// In the heap. A place is free while its value is 0.
class Index {
 public:
  Index(vmheap::Heap& heap, std::uint64_t pairs)
      : size_(pairs + pairs / 4),
        places_(static_cast<Place*>(heap.allocate(size_ * sizeof(Place), kAlignment))),
        values_(static_cast<Value*>(heap.allocate((pairs + 1) * sizeof(Value), kAlignment))) {
    if (places_ == nullptr || values_ == nullptr) throw Error("the heap is too small for the pairs");
  }

  void insert(std::uint64_t key, const Value& value) {
    auto at = static_cast<std::uint64_t>((static_cast<unsigned __int128>(key) * size_) >> 64U);
    while (places_[at].value != 0 && places_[at].key != key) at = at + 1 == size_ ? 0 : at + 1;
    if (places_[at].value == 0) places_[at] = {.key = key, .value = ++count_};
    values_[places_[at].value] = value;
  }

 private:
  static constexpr std::size_t kAlignment = 4096;
  struct Place {
    std::uint64_t key;
    std::uint64_t value;  // number; from 1 on
  };
  std::uint64_t size_;
  Place* places_;
  Value* values_;
  std::uint64_t count_ = 0;
};

}  // namespace

double insert_pairs_in_heap(const std::string& directory, const PairsToInsert& pairs) {
  std::string path = directory + "/pairs.heap";
  std::filesystem::remove_all(path);
  auto heap = vmheap::Heap::create(path, {.size = std::bit_ceil(pairs.count * PairsToInsert::kPairBytes * 2)},
                                   {.resident_limit = pairs.resident_bytes});
  Index index(*heap, pairs.count);
  auto start = Clock::now();
  for (std::uint64_t i = 0; i < pairs.count; ++i) {
    index.insert(key_of(i), value_of(i));
    if ((i + 1) % pairs.per_commit == 0) heap->commit();
  }
  heap->commit();
  double seconds = seconds_since(start);
  heap.reset();
  std::filesystem::remove_all(path);
  return seconds;
}

#ifdef CKPT_BENCH_LMDB

namespace {

void check(int code, const char* what) {
  if (code != 0) throw Error(std::string(what) + ": " + mdb_strerror(code));
}

}  // namespace

bool has_lmdb() { return true; }

double insert_pairs_in_lmdb(const std::string& directory, const PairsToInsert& pairs) {
  std::string path = directory + "/pairs.lmdb";
  std::filesystem::remove_all(path);
  std::filesystem::create_directory(path);
  MDB_env* environment = nullptr;
  check(mdb_env_create(&environment), "mdb_env_create");
  check(mdb_env_set_mapsize(environment, std::bit_ceil(pairs.count * PairsToInsert::kPairBytes * 4)),
        "mapsize");
  check(mdb_env_open(environment, path.c_str(), MDB_NORDAHEAD | MDB_WRITEMAP, 0600), "mdb_env_open");
  auto start = Clock::now();
  MDB_txn* transaction = nullptr;
  MDB_dbi table = 0;
  auto begin = [&] { check(mdb_txn_begin(environment, nullptr, 0, &transaction), "mdb_txn_begin"); };
  begin();
  check(mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY, &table), "mdb_dbi_open");
  for (std::uint64_t i = 0; i < pairs.count; ++i) {
    std::uint64_t number = key_of(i);
    Value content = value_of(i);
    MDB_val key{.mv_size = sizeof number, .mv_data = &number};
    MDB_val value{.mv_size = content.size(), .mv_data = content.data()};
    check(mdb_put(transaction, table, &key, &value, 0), "mdb_put");
    if ((i + 1) % pairs.per_commit != 0) continue;
    check(mdb_txn_commit(transaction), "mdb_txn_commit");
    begin();
  }
  check(mdb_txn_commit(transaction), "mdb_txn_commit");
  double seconds = seconds_since(start);
  mdb_env_close(environment);
  std::filesystem::remove_all(path);
  return seconds;
}

#else

bool has_lmdb() { return false; }

double insert_pairs_in_lmdb(const std::string& /*directory*/, const PairsToInsert& /*pairs*/) {
  throw Error("built without LMDB; install liblmdb-dev and configure again");
}

#endif

}  // namespace ckpt::bench
