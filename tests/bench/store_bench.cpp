// What looking after a store costs, as numbers and as ratios that do not depend on the machine:
//
//   list    the versions of an application that has 10,000 of them; and removing one
//   verify  bytes per second beside a sequential read of the same file, page cache empty for both
//   gc      bytes written beside bytes freed
//   send    bytes of a stream beside bytes that changed: 1 % of the pages of 1 GiB, single ones
//
//   store_bench [DIRECTORY] [VERSIONS] [MIB]
//
// DIRECTORY lies on the disk that it is about.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file_io.h"
#include "base/unique_fd.h"
#include "store/checkpoint_store.h"
#include "store/inventory.h"
#include "store/transfer.h"
#include "support/temporary_directory.h"

namespace {

using ckpt::store::Application;
using ckpt::store::Base;
using ckpt::store::kPageBytes;
using ckpt::store::Version;

constexpr std::uint64_t kChunkPages = 256;

double milliseconds_of(const std::function<void()>& work) {
  auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void fill(std::vector<std::byte>& bytes, std::mt19937_64& random) {
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
}

Version commit(ckpt::store::CheckpointWriter& writer) {
  ckpt::store::VersionDescription description;
  description.run_id = "run";
  description.command = {"program", "--option", "value"};
  return writer.commit(description, {});
}

Version put_everything(Application& application, std::uint64_t pages, std::mt19937_64& random) {
  auto writer = application.begin(0, Base::kEmpty);
  std::vector<std::byte> chunk(kChunkPages * kPageBytes);
  for (std::uint64_t page = 0; page < pages; page += kChunkPages) {
    fill(chunk, random);
    writer->put(0, page, chunk);
  }
  return commit(*writer);
}

// Single pages, one out of `one_in`.
Version change_pages(Application& application, Version parent, std::uint64_t pages, std::uint64_t one_in,
                     std::mt19937_64& random) {
  auto writer = application.begin(parent, Base::kParent);
  std::vector<std::byte> page(kPageBytes);
  for (std::uint64_t first = 0; first < pages; first += one_in) {
    fill(page, random);
    writer->put(0, first + random() % one_in, page);
  }
  return commit(*writer);
}

void measure_list(ckpt::store::Store& store, Version versions) {
  std::mt19937_64 random(1);
  auto application = store.create_application("many");
  Version last = 0;
  double committing = milliseconds_of([&] {
    for (Version i = 0; i < versions; ++i) last = change_pages(*application, last, 16, 16, random);
  });
  std::size_t listed = 0;
  double first =
      milliseconds_of([&] { listed = take_inventory(*store.application("many")).versions.size(); });
  double listing =
      milliseconds_of([&] { listed = take_inventory(*store.application("many")).versions.size(); });
  double removing = milliseconds_of([&] { store.application("many")->remove(versions / 2); });
  double removing_last = milliseconds_of([&] { store.application("many")->remove(last); });
  fmt::print("list    {} versions in {:.1f} ms (the first time {:.1f}); a commit {:.1f} ms\n", listed,
             listing, first, committing / static_cast<double>(versions));
  fmt::print("rm      {:.1f} ms for one in the middle, {:.1f} for the last\n", removing, removing_last);
}

void forget_cached(const std::string& path) {
  ckpt::UniqueFd fd = ckpt::open_or_throw(path, O_RDONLY);
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
}

void read_sequentially(const std::string& path) {
  ckpt::UniqueFd fd = ckpt::open_or_throw(path, O_RDONLY | O_DIRECT);
  constexpr std::size_t kBlock = 4 << 20;
  std::unique_ptr<std::byte, void (*)(void*)> memory(
      static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kBlock)), std::free);
  while (::read(fd.get(), memory.get(), kBlock) > 0) {
  }
}

void measure_verify(Application& application, Version version, std::uint64_t bytes) {
  std::string path = fmt::format("{}/v{:010}.ckpt", application.path(), version);
  double best_read = 1e9;
  double best_verify = 1e9;
  for (int round = 0; round < 3; ++round) {
    forget_cached(path);
    best_read = std::min(best_read, milliseconds_of([&] { read_sequentially(path); }));
    forget_cached(path);
    best_verify = std::min(best_verify, milliseconds_of([&] {
                             if (application.verify({version}).sound.empty()) throw ckpt::Error("not sound");
                           }));
  }
  double mib = static_cast<double>(bytes) / (1 << 20);
  fmt::print("verify  {:.0f} MiB/s, sequential read {:.0f} MiB/s: ratio {:.2f}\n", mib / best_verify * 1000,
             mib / best_read * 1000, best_read / best_verify);
}

void measure_gc(ckpt::store::Store& store, std::uint64_t pages) {
  std::mt19937_64 random(2);
  for (std::uint64_t one_in : {16, 4, 2}) {
    auto application = store.create_application(fmt::format("gc-{}", one_in));
    Version first = put_everything(*application, pages, random);
    auto writer = application->begin(first, Base::kParent);
    std::vector<std::byte> page(kPageBytes);
    for (std::uint64_t i = 0; i < pages; ++i) {
      if (i % one_in == 0) continue;
      fill(page, random);
      writer->put(0, i, page);
    }
    commit(*writer);
    writer.reset();
    application->remove(first);
    ckpt::store::Reclaimed reclaimed;
    double spent = milliseconds_of([&] { reclaimed = application->reclaim(); });
    fmt::print("gc      1/{} alive: {:.1f} MiB freed, {:.2f} MiB written, {:.0f} ms: ratio {:.3f}\n", one_in,
               static_cast<double>(reclaimed.bytes_freed) / (1 << 20),
               static_cast<double>(reclaimed.bytes_written) / (1 << 20), spent,
               reclaimed.bytes_freed == 0 ? 0.0
                                          : static_cast<double>(reclaimed.bytes_written) /
                                                static_cast<double>(reclaimed.bytes_freed));
    store.remove_application(application->name());
  }
}

void measure_big(ckpt::store::Store& store, std::uint64_t pages) {
  std::mt19937_64 random(3);
  auto application = store.create_application("big");
  Version first = put_everything(*application, pages, random);
  measure_verify(*application, first, pages * kPageBytes);
  constexpr std::uint64_t kOneIn = 100;
  Version second = change_pages(*application, first, pages - pages % kOneIn, kOneIn, random);
  std::uint64_t sent = 0;
  double spent = milliseconds_of([&] {
    ckpt::store::send_version("big", *application->open(second), application->open(first).get(), 0,
                              [&](std::span<const std::byte> bytes) { sent += bytes.size(); });
  });
  std::uint64_t changed = pages / kOneIn * kPageBytes;
  fmt::print("send    {} bytes for {} that changed, {:.0f} ms: ratio {:.4f}\n", sent, changed, spent,
             static_cast<double>(sent) / static_cast<double>(changed));
  store.remove_application("big");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    ckpt::tests::TemporaryDirectory directory(argc > 1 ? argv[1]
                                                       : std::filesystem::temp_directory_path().string());
    Version versions = argc > 2 ? std::stoull(argv[2]) : 10'000;
    std::uint64_t mib = argc > 3 ? std::stoull(argv[3]) : 1024;
    auto store = ckpt::store::Store::open(directory.file("store"), true);
    std::uint64_t pages = (mib << 20U) / kPageBytes;
    measure_big(store, pages);
    measure_gc(store, std::min<std::uint64_t>(pages, 16'384));
    measure_list(store, versions);
  } catch (const std::exception& error) {
    fmt::print(stderr, "store_bench: {}\n", error.what());
    return 1;
  }
}
