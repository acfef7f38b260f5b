// How fast the store takes pages and gives them back, beside bare O_DIRECT writes and reads of as many bytes
// on the same file system. Writes are sequential and durable when the clock stops; reads are made by as many
// threads as there are cores, of the very segment. Runs take turns, so that a busy device slows both alike.
//
//   store_throughput [DIRECTORY] [MIB] [ROUNDS]
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "store/checkpoint_store.h"
#include "support/temporary_directory.h"

namespace {

using ckpt::store::kPageBytes;
constexpr std::size_t kChunk = 4U << 20;

struct Free {
  void operator()(std::byte* bytes) const { std::free(bytes); }
};
using Buffer = std::unique_ptr<std::byte, Free>;

// Content that no other page has had.
void fill(std::span<std::byte> bytes, std::uint64_t& seed) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof seed) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    std::memcpy(bytes.data() + at, &seed, sizeof seed);
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double bare_write(const std::string& directory, std::span<const std::byte> source, std::size_t chunks) {
  std::string path = directory + "/bare";
  auto start = std::chrono::steady_clock::now();
  ckpt::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600));
  if (!fd) ckpt::throw_errno("open " + path);
  for (std::size_t i = 0; i < chunks; ++i) {
    auto chunk = source.subspan(i * kChunk % source.size(), kChunk);
    if (::pwrite(fd.get(), chunk.data(), kChunk, static_cast<off_t>(i * kChunk)) !=
        static_cast<ssize_t>(kChunk)) {
      ckpt::throw_errno("write " + path);
    }
  }
  if (::fdatasync(fd.get()) != 0) ckpt::throw_errno("fdatasync " + path);
  double seconds = seconds_since(start);
  std::filesystem::remove(path);
  return seconds;
}

double store_write(ckpt::store::Application& application, std::span<const std::byte> source,
                   std::size_t chunks) {
  auto start = std::chrono::steady_clock::now();
  auto writer = application.begin(0, ckpt::store::Base::kEmpty);
  writer->hurry();  // like the bare write, it yields to nobody
  for (std::size_t i = 0; i < chunks; ++i) {
    writer->put(0, i * kChunk / kPageBytes, source.subspan(i * kChunk % source.size(), kChunk));
  }
  ckpt::store::VersionDescription description;
  writer->commit(description, {});
  return seconds_since(start);
}

// Calls read(chunk number, buffer) for every chunk, by several threads. Returns the seconds it takes.
double read_in_parallel(std::size_t chunks,
                        const std::function<void(std::size_t, std::span<std::byte>)>& read) {
  std::atomic<std::size_t> next{0};
  auto work = [&](std::span<std::byte> buffer) {
    for (std::size_t i = next++; i < chunks; i = next++) read(i, buffer);
  };
  std::vector<Buffer> buffers;
  for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) {
    buffers.emplace_back(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kChunk)));
    std::memset(buffers.back().get(), 1, kChunk);
  }
  auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    threads.reserve(buffers.size());
    for (const Buffer& buffer : buffers) threads.emplace_back(work, std::span(buffer.get(), kChunk));
  }
  return seconds_since(start);
}

double bare_read(const std::string& path, std::size_t chunks) {
  ckpt::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
  if (!fd) ckpt::throw_errno("open " + path);
  return read_in_parallel(chunks, [&](std::size_t i, std::span<std::byte> buffer) {
    if (::pread(fd.get(), buffer.data(), kChunk, static_cast<off_t>(i * kChunk)) !=
        static_cast<ssize_t>(kChunk))
      std::abort();
  });
}

double store_read(const ckpt::store::CheckpointReader& reader, std::size_t chunks) {
  constexpr std::uint64_t kPages = kChunk / kPageBytes;
  return read_in_parallel(chunks, [&](std::size_t i, std::span<std::byte> buffer) {
    reader.read(0, {.first_page = i * kPages, .page_count = kPages}, buffer);
  });
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Rates {
  std::vector<double> bare;
  std::vector<double> store;
  std::vector<double> ratio;

  void add(double bare_rate, double store_rate) {
    bare.push_back(bare_rate);
    store.push_back(store_rate);
    ratio.push_back(store_rate / bare_rate);
  }
  void print(const char* what) const {
    fmt::print("{}: bare {:.2f} GB/s, store {:.2f} GB/s, ratio within a round {:.2f}\n", what, median(bare),
               median(store), median(ratio));
  }
};

void run(const std::string& parent, std::size_t mib, std::size_t rounds) {
  ckpt::tests::TemporaryDirectory directory(parent);
  auto store = ckpt::store::Store::open(directory.path() + "/store", true);
  auto application = store.create_application("throughput");
  // Larger than the caches of the processor, as the memory of a program is.
  constexpr std::size_t kSourceChunks = 32;
  Buffer source(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kSourceChunks * kChunk)));
  std::span<std::byte> bytes(source.get(), kSourceChunks * kChunk);
  std::uint64_t seed = 1;
  fill(bytes, seed);
  std::size_t chunks = std::max<std::size_t>(1, (mib << 20U) / kChunk);
  double volume = static_cast<double>(chunks * kChunk) / 1e9;
  Rates writing;
  Rates reading;
  for (std::size_t round = 0; round < rounds; ++round) {
    double bare = volume / bare_write(directory.path(), bytes, chunks);
    writing.add(bare, volume / store_write(*application, bytes, chunks));
    ckpt::store::Version version = application->versions().back().description.version;
    std::string segment = fmt::format("{}/v{:010}.ckpt", application->path(), version);
    bare = volume / bare_read(segment, chunks);
    reading.add(bare, volume / store_read(*application->open(version), chunks));
    application->remove(version);
  }
  fmt::print("medians of {} rounds of {:.2f} GB\n", rounds, volume);
  writing.print("write");
  reading.print("read");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::string parent = argc > 1 ? argv[1] : std::filesystem::temp_directory_path().string();
    run(parent, argc > 2 ? std::stoul(argv[2]) : 1024, argc > 3 ? std::max(1UL, std::stoul(argv[3])) : 7);
  } catch (const std::exception& error) {
    fmt::print(stderr, "store_throughput: {}\n", error.what());
    return 1;
  }
  return 0;
}
