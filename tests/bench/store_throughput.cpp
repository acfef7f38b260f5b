// How fast the store takes pages, beside a bare sequential O_DIRECT write of as many bytes to the same file
// system. Both are durable when the clock stops. Runs take turns, so that a busy device slows both alike.
//
//   store_throughput [DIRECTORY] [MIB] [ROUNDS]
#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/unique_fd.h"
#include "store/checkpoint_store.h"

namespace {

using ckpt::store::kPageBytes;
constexpr std::size_t kChunk = 4U << 20;

class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& parent) : path_(parent + "/store-throughput-XXXXXX") {
    if (::mkdtemp(path_.data()) == nullptr) ckpt::throw_errno("mkdtemp " + path_);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

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
  ckpt::store::Version version = writer->commit(description, {});
  double seconds = seconds_since(start);
  application.remove(version);
  return seconds;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void run(const std::string& parent, std::size_t mib, std::size_t rounds) {
  TemporaryDirectory directory(parent);
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
  std::vector<double> bare;
  std::vector<double> stored;
  std::vector<double> ratios;
  for (std::size_t round = 0; round < rounds; ++round) {
    bare.push_back(volume / bare_write(directory.path(), bytes, chunks));
    stored.push_back(volume / store_write(*application, bytes, chunks));
    ratios.push_back(stored.back() / bare.back());
    fmt::print("round {}: bare {:.2f} GB/s, store {:.2f} GB/s\n", round + 1, bare.back(), stored.back());
  }
  fmt::print(
      "median of {} rounds of {:.2f} GB: bare {:.2f} GB/s, store {:.2f} GB/s, ratio of a round {:.2f}\n",
      rounds, volume, median(bare), median(stored), median(ratios));
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
