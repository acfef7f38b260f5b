// What a small version of a large program costs the store: segment bytes beside the bytes that changed, reads
// from the parent's segments, and the time of a commit. 4096 single pages at random, version after version.
//
//   store_increments [DIRECTORY] [MIB] [VERSIONS]
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/checkpoint_store.h"
#include "store/retention.h"
#include "store/system_calls.h"
#include "support/temporary_directory.h"

namespace {

using ckpt::store::kPageBytes;
constexpr std::size_t kChangedPages = 4096;

std::atomic<std::uint64_t> reads;
ckpt::store::SystemCalls real;

ssize_t counted_read(int fd, void* bytes, std::size_t size, off_t offset) {
  ++reads;
  return real.pread(fd, bytes, size, offset);
}

void put_everything(ckpt::store::CheckpointWriter& writer, std::uint64_t page_count,
                    std::mt19937_64& random) {
  std::vector<std::byte> chunk(256 * kPageBytes);
  for (std::uint64_t page = 0; page < page_count; page += 256) {
    for (std::size_t at = 0; at < chunk.size(); at += 64) {
      std::uint64_t word = random();
      std::memcpy(chunk.data() + at, &word, sizeof word);
    }
    writer.put(0, page, chunk);
  }
}

double put_increment(ckpt::store::CheckpointWriter& writer, std::uint64_t page_count,
                     std::mt19937_64& random) {
  std::vector<std::uint64_t> pages;
  while (pages.size() < kChangedPages) pages.push_back(random() % page_count);
  std::ranges::sort(pages);
  std::vector<std::byte> content(kPageBytes, std::byte{0x5a});
  auto start = std::chrono::steady_clock::now();
  for (std::uint64_t page : pages) {
    std::uint64_t word = random();
    std::memcpy(content.data(), &word, sizeof word);
    writer.put(0, page, content);
  }
  std::vector<ckpt::store::PageRun> all{{.first_page = 0, .page_count = page_count}};
  writer.keep_only(0, all);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void run(const std::string& parent, std::uint64_t mib, int versions) {
  ckpt::tests::TemporaryDirectory directory(parent);
  auto store = ckpt::store::Store::open(directory.path() + "/store", true);
  auto application = store.create_application("increments");
  std::mt19937_64 random(1);
  std::uint64_t page_count = (mib << 20U) / kPageBytes;
  ckpt::store::VersionDescription description;
  auto first = application->begin(0, ckpt::store::Base::kEmpty);
  put_everything(*first, page_count, random);
  ckpt::store::Version last = first->commit(description, {});
  first.reset();
  std::uint64_t written = 0;
  double put_ms = 0;
  double commit_ms = 0;
  std::uint64_t most = 0;
  reads = 0;
  for (int i = 0; i < versions; ++i) {
    auto writer = application->begin(last, ckpt::store::Base::kParent);
    put_ms += put_increment(*writer, page_count, random);
    auto start = std::chrono::steady_clock::now();
    last = writer->commit(description, {});
    commit_ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    writer.reset();
    written += description.stats.bytes_written;
    most = std::max(most, description.stats.bytes_written);
    std::uint64_t reads_of_writer = reads;
    static_cast<void>(application->retain({.last = 3}, "none"));
    reads = reads_of_writer;
  }
  double changed = static_cast<double>(kChangedPages * kPageBytes);
  fmt::print(
      "{} MiB, {} versions of {} pages: segment / changed bytes {:.4f} (most {:.4f}), {} reads by the "
      "writers, "
      "put {:.1f} ms, commit {:.1f} ms\n",
      mib, versions, kChangedPages, static_cast<double>(written) / changed / versions,
      static_cast<double>(most) / changed, reads.load(), put_ms / versions, commit_ms / versions);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    real = ckpt::store::system_calls();
    ckpt::store::system_calls().pread = counted_read;
    std::string parent = argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string();
    run(parent, argc > 2 ? std::stoul(argv[2]) : 1024, argc > 3 ? std::max(1, std::stoi(argv[3])) : 30);
  } catch (const std::exception& error) {
    fmt::print(stderr, "store_increments: {}\n", error.what());
    return 1;
  }
  return 0;
}
