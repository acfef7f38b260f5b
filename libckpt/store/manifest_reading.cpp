#include "store/manifest_reading.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/error.h"

namespace ckpt::store {
namespace {

// One costs some 5 us, most of it in the kernel; a thread is worth starting for a good many of them.
constexpr std::size_t kChunk = 64;
constexpr unsigned kMostThreads = 8;

class Reading {
 public:
  Reading(const ApplicationFiles& files, const std::vector<Version>& versions)
      : files_(files), versions_(versions), read_(versions.size()) {}

  std::vector<ReadManifest> run() {
    {
      std::size_t chunks = (versions_.size() + kChunk - 1) / kChunk;
      auto wanted = static_cast<unsigned>(
          std::min<std::size_t>(chunks, std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads)));
      std::vector<std::jthread> threads;
      try {
        for (unsigned i = 1; i < wanted; ++i) threads.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        // Then those that run do it all.
      }
      work();
    }
    if (failure_) std::rethrow_exception(failure_);
    std::erase_if(read_, [](const ReadManifest& one) { return !one.manifest && one.damage.empty(); });
    return std::move(read_);
  }

 private:
  void work() {
    try {
      for (std::size_t begin = next_.fetch_add(kChunk); begin < versions_.size();
           begin = next_.fetch_add(kChunk)) {
        for (std::size_t i = begin; i < std::min(begin + kChunk, versions_.size()); ++i) read_one(i);
      }
    } catch (...) {
      std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
  }

  void read_one(std::size_t i) {
    ReadManifest& one = read_[i];
    one.version = versions_[i];
    try {
      std::shared_ptr<const Segment> segment = files_.open_visible(one.version);
      if (!segment) return;
      one.manifest = segment->read_manifest();
      one.segment_bytes = segment->file_bytes();
    } catch (const Error& error) {
      one.damage = error.what();
    }
  }

  const ApplicationFiles& files_;
  const std::vector<Version>& versions_;
  std::vector<ReadManifest> read_;
  std::atomic<std::size_t> next_ = 0;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

std::vector<ReadManifest> read_manifests(const ApplicationFiles& files,
                                         const std::vector<Version>& versions) {
  return Reading(files, versions).run();
}

}  // namespace ckpt::store
