// Whenever the power fails, every version that was reported durable is there bit for bit, and no version is
// there that is not whole.
//
//   CKPT_SOAK=full   100,000 failures instead of 5,000 (fewer under sanitizers)

#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>
#include <utility>

#include "power_loss_support.h"
#include "store/retention.h"
#include "store/transfer.h"
#include "store_fixture.h"
#include "support/temporary_directory.h"

namespace ckpt::store {
namespace {

std::size_t wanted_failures() {
#ifdef __SANITIZE_ADDRESS__
  constexpr std::size_t kShare = 500;
#else
  constexpr std::size_t kShare = 5000;
#endif
  const char* soak = std::getenv("CKPT_SOAK");
  return soak != nullptr && std::string_view(soak) == "full" ? 100'000 : kShare;
}

// What must be found from a call on.
struct Promise {
  std::size_t calls = 0;  // made before it was given
  std::set<Version> durable;
};

class PowerLoss : public StoreTest {
 protected:
  PowerLoss() : StoreTest(tests::fast_directory()) {}

  // Changes pages of the newest version at random.
  void commit_some(std::mt19937_64& random) {
    Version parent = models_.empty() ? 0 : models_.rbegin()->first;
    if (!durable_.contains(parent)) parent = durable_.empty() ? 0 : *durable_.rbegin();
    Model model = parent != 0 ? models_.at(parent) : Model();
    auto writer =
        application_->begin(parent, parent != 0 ? Base::kParent : Base::kEmpty,
                            {.compression = random() % 4 == 0 ? Compression::kLz4 : Compression::kNone});
    // Now and then so many that a segment is worth reclaiming later.
    int changes = random() % 3 == 0 ? 60 : 6;
    for (int i = 0; i < changes; ++i) {
      auto space = static_cast<SpaceId>(random() % 2);
      std::uint64_t page = random() % 30;
      Page content = page_of(random());
      writer->put(space, page, content);
      model[space][page] = content;
    }
    // Known before it may be there.
    Version version = next_version();
    models_[version] = model;
    ASSERT_EQ(commit(*writer), version);
    durable_.insert(version);
    promise();
  }

  Version next_version() const { return models_.empty() ? 1 : models_.rbegin()->first + 1; }

  void remove_one(std::mt19937_64& random) {
    if (durable_.size() < 2) return;
    auto victim = std::next(durable_.begin(), static_cast<std::ptrdiff_t>(random() % durable_.size()));
    Version version = *victim;
    durable_.erase(victim);
    promise();  // from now on it may be gone
    application_->remove(version);
  }

  void retain_two() {
    std::set<Version> kept = durable_;
    while (kept.size() > 2) kept.erase(kept.begin());
    durable_ = kept;
    promise();
    application_->retain({.last = 2}, "run");
  }

  void reclaim() { application_->reclaim(); }

  void tag_one(std::mt19937_64& random) {
    if (durable_.empty()) return;
    Version version = *durable_.begin();
    application_->tag(version, "t" + std::to_string(random() % 1000));
    for (const Tag& tag : application_->tags()) application_->untag(tag.label);
  }

  // Versions of another store, as they travel; made before anything is recorded.
  void make_streams() {
    std::filesystem::remove_all(directory_ + "/sender");
    auto sender = Store::open(directory_ + "/sender", true).create_application("app");
    streams_.clear();
    for (std::int64_t created = 1; created <= 3; ++created) {
      auto writer = sender->begin(0, Base::kEmpty);
      Stream stream;
      for (std::uint64_t page = 0; page < 5; ++page) {
        Page content = page_of(static_cast<std::uint64_t>(created) * 100'000 + page);
        writer->put(1, page * 2, content);
        stream.model[1][page * 2] = content;
      }
      VersionDescription description;
      description.created_realtime_ns = created;
      description.run_id = "sender";
      Version version = writer->commit(description, {});
      send_version("app", *sender->open(version), nullptr, 0, [&](std::span<const std::byte> bytes) {
        stream.bytes.insert(stream.bytes.end(), bytes.begin(), bytes.end());
      });
      streams_.push_back(std::move(stream));
    }
  }

  void receive_one() {
    if (streams_.empty()) return;
    Stream stream = std::move(streams_.back());
    streams_.pop_back();
    Version version = std::max<Version>(next_version(), streams_.size() + 1);
    models_[version] = stream.model;
    std::span<const std::byte> left(stream.bytes);
    Received received = receive_version(*store_, std::nullopt, [&left](std::span<std::byte> out) {
      std::size_t size = std::min(out.size(), left.size());
      std::copy_n(left.begin(), size, out.begin());
      left = left.subspan(size);
      return size;
    });
    ASSERT_EQ(received.version, version);
    durable_.insert(version);
    promise();
  }

  void promise() { promises_.push_back({.calls = recording_->call_count(), .durable = durable_}); }

  std::set<Version> durable_after(std::size_t calls) const {
    std::set<Version> durable;
    for (const Promise& promise : promises_) {
      if (promise.calls <= calls) durable = promise.durable;
    }
    return durable;
  }

  void fail_after(std::size_t calls, Leftover leftover, std::mt19937_64& random) {
    std::string path = directory_ + "/found";
    recording_->state_after(calls, leftover, random, path);
    std::set<Version> required = durable_after(calls);
    auto application = Store::open(path, false).application("app");
    std::set<Version> found;
    for (const VersionEntry& entry : application->versions()) found.insert(entry.description.version);
    EXPECT_EQ(application->damaged(), std::vector<std::string>());
    EXPECT_TRUE(std::ranges::includes(found, required)) << "a version that was durable is gone";
    for (Version version : found) {
      ASSERT_TRUE(models_.contains(version)) << "version " << version << " was never made";
      EXPECT_EQ(content_of(*application->open(version), {0, 1}), models_.at(version))
          << "version " << version;
    }
    std::filesystem::remove_all(path);
    ++failures_;
  }

  // A new store, in which something happens; then the power fails after every call.
  template <typename Happens>
  void torture(std::uint64_t seed, int variants, Happens happens) {
    std::filesystem::remove_all(directory_ + "/store");
    store_.emplace(Store::open(directory_ + "/store", true));
    application_ = store_->create_application("app");
    models_.clear();
    durable_.clear();
    promises_.clear();
    std::mt19937_64 random(seed);
    make_streams();
    recording_.emplace(directory_ + "/store");
    happens(random);
    SystemCalls recorded = std::exchange(system_calls(), recording_->real);
    for (std::size_t calls = 0; calls <= recording_->call_count() && !HasFailure(); ++calls) {
      fail_after(calls, Leftover::kNone, random);
      fail_after(calls, Leftover::kAll, random);
      for (int i = 2; i < variants; ++i) fail_after(calls, Leftover::kSome, random);
    }
    if (HasFailure()) ADD_FAILURE() << "seed " << seed;
    system_calls() = recorded;
    recording_.reset();
  }

  struct Stream {
    std::vector<std::byte> bytes;
    Model model;
  };

  std::optional<Recording> recording_;
  std::vector<Stream> streams_;
  std::map<Version, Model> models_;  // of all versions that were ever begun
  std::set<Version> durable_;        // and shall stay
  std::vector<Promise> promises_;
  std::size_t failures_ = 0;
};

TEST_F(PowerLoss, AfterEveryCallOfAShortHistory) {
  torture(1, 12, [&](std::mt19937_64& random) {
    commit_some(random);
    commit_some(random);
    tag_one(random);
    remove_one(random);
    commit_some(random);
    retain_two();
    receive_one();
    reclaim();
    commit_some(random);
  });
  RecordProperty("failures", std::to_string(failures_));
}

TEST_F(PowerLoss, AfterEveryCallOfRandomHistories) {
  std::uint64_t seed = std::random_device()();
  while (failures_ < wanted_failures() && !HasFailure()) {
    torture(seed++, 6, [&](std::mt19937_64& random) {
      for (int step = 0; step < 12; ++step) {
        switch (random() % 9) {
          case 0:
            remove_one(random);
            break;
          case 1:
            retain_two();
            break;
          case 2:
            reclaim();
            break;
          case 3:
            tag_one(random);
            break;
          case 4:
            receive_one();
            break;
          default:
            commit_some(random);
        }
      }
    });
  }
  RecordProperty("failures", std::to_string(failures_));
}

}  // namespace
}  // namespace ckpt::store
