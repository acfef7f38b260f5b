#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "store/checkpoint_store.h"
#include "store/system_calls.h"

namespace ckpt::store {

// Space -> page number -> content. What a version should contain.
using Page = std::vector<std::byte>;
using Model = std::map<SpaceId, std::map<std::uint64_t, Page>>;

// Content that differs for each seed and is never zero.
inline Page page_of(std::uint64_t seed) {
  Page page(kPageBytes);
  std::uint64_t word = seed * 2 + 1;
  for (std::size_t i = 0; i < kPageBytes; i += sizeof(std::uint64_t)) {
    word = word * 6364136223846793005ULL + 2;  // stays odd
    std::memcpy(page.data() + i, &word, sizeof word);
  }
  return page;
}

inline Model content_of(const CheckpointReader& reader, std::initializer_list<SpaceId> spaces) {
  Model model;
  for (SpaceId space : spaces) {
    for (PageRun run : reader.runs(space)) {
      std::vector<std::byte> bytes(run.page_count * kPageBytes);
      reader.read(space, run, bytes);
      for (std::uint64_t i = 0; i < run.page_count; ++i) {
        auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(i * kPageBytes);
        model[space][run.first_page + i] = Page(begin, begin + kPageBytes);
      }
    }
  }
  return model;
}

// What tests that stand in for some call the others by.
inline const SystemCalls kRealCalls = system_calls();

class StoreTest : public testing::Test {
 protected:
  explicit StoreTest(const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
    std::string pattern = (parent / "store-test-XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    store_.emplace(Store::open(directory_ + "/store", true));
    application_ = store_->create_application("app");
  }
  ~StoreTest() override {
    system_calls() = kRealCalls;
    std::filesystem::remove_all(directory_);
  }
  StoreTest(const StoreTest&) = delete;
  StoreTest& operator=(const StoreTest&) = delete;

  Version commit(CheckpointWriter& writer, const std::string& run = "run",
                 const std::string& image = "image") {
    VersionDescription description;
    description.run_id = run;
    return writer.commit(description, std::as_bytes(std::span(image)));
  }

  // A version with one page of this content at page number 1 of space 0.
  Version commit_page(Version parent, std::uint64_t seed, const std::string& run = "run") {
    auto writer = application_->begin(parent, Base::kParent);
    writer->put(0, 1, page_of(seed));
    return commit(*writer, run);
  }

  Model content(Version version) { return content_of(*application_->open(version), {0, 1, 2, 3}); }

  std::vector<Version> versions() {
    std::vector<Version> result;
    for (const VersionEntry& entry : application_->versions()) result.push_back(entry.description.version);
    return result;
  }

  // Names in the application's directory, sorted, without the lock file.
  std::vector<std::string> files() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(application_->path())) {
      if (entry.path().filename() != ".lock") names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string path_of(const std::string& file) { return application_->path() + "/" + file; }

  std::string directory_;
  std::optional<Store> store_;
  std::unique_ptr<Application> application_;
};

// The message of the Error that `action` throws; fails the test if it does not.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

}  // namespace ckpt::store
