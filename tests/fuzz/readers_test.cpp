// Readers of what others may have written meet damage of all kinds (reader_targets.h): the same inputs every
// time, and all of the corpus in the tree, so that a failure can be repeated.
//
//   CKPT_FUZZ_SECONDS=N  for every target, N seconds of inputs from a random seed, which is printed
//   CKPT_FUZZ_SEED=N     from this one
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "base/file_io.h"
#include "fuzz/mutation.h"
#include "fuzz/reader_targets.h"

namespace ckpt::fuzz {

// In the names of the tests; GoogleTest finds it here.
static void PrintTo(const ReaderTarget& target, std::ostream* out) { *out << target.name; }

namespace {

using Clock = std::chrono::steady_clock;

class Readers : public testing::TestWithParam<ReaderTarget> {
 protected:
  void run(const Bytes& input, const std::string& what) {
    try {
      GetParam().run(input);
    } catch (const Finding& finding) {
      ADD_FAILURE() << finding.what() << ", " << what;
    } catch (const std::exception& error) {
      ADD_FAILURE() << "not an Error: " << error.what() << ", " << what;
    }
  }
};

TEST_P(Readers, TakeWhatIsSound) {
  for (const Bytes& seed : GetParam().seeds()) run(seed, "of a seed");
}

TEST_P(Readers, MeetTheCorpus) {
  std::filesystem::path directory = std::filesystem::path(CKPT_CORPUS) / GetParam().name;
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error))
    GTEST_SKIP() << directory << " cannot be read by this user";
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::string text = read_file(entry.path());
    auto bytes = std::as_bytes(std::span(text));
    run(Bytes(bytes.begin(), bytes.end()), entry.path());
    ++count;
  }
  EXPECT_GT(count, 0U);
}

TEST_P(Readers, RefuseDamage) {
  const char* wanted = std::getenv("CKPT_FUZZ_SECONDS");
  auto seconds = std::chrono::seconds(wanted != nullptr ? std::atoi(wanted) : 0);
  bool is_slow = GetParam().name == "stream" || GetParam().name == "segment";
  std::size_t least = is_slow ? 300 : 10'000;
  std::uint64_t seed = seconds.count() > 0 ? std::random_device()() : 1;
  if (const char* given = std::getenv("CKPT_FUZZ_SEED")) seed = std::strtoull(given, nullptr, 10);
  std::printf("%s: seed %llu\n", GetParam().name.c_str(), static_cast<unsigned long long>(seed));
  std::fflush(stdout);  // a crash shows it, too
  std::vector<Bytes> seeds = GetParam().seeds();
  std::mt19937_64 random(seed);
  std::size_t count = 0;
  for (auto end = Clock::now() + seconds; (count < least || Clock::now() < end) && !HasFailure(); ++count)
    run(mutated(seeds, random), "input " + std::to_string(count) + " of seed " + std::to_string(seed));
  RecordProperty("inputs", std::to_string(count));
}

INSTANTIATE_TEST_SUITE_P(All, Readers, testing::ValuesIn(reader_targets()),
                         [](const auto& target) { return target.param.name; });

}  // namespace
}  // namespace ckpt::fuzz
