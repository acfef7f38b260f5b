// A version that was sent and received is the same version, whatever happened on the way.
#include "store/transfer.h"

#include <filesystem>
#include <random>

#include "store_fixture.h"

namespace ckpt::store {
namespace {

using Bytes = std::vector<std::byte>;

class Transfer : public StoreTest {
 protected:
  Transfer() : other_(Store::open(directory_ + "/other", true)) {}

  // 300 pages that are not adjacent, in two spaces.
  Version make_first() {
    auto writer = application_->begin(0, Base::kEmpty);
    for (std::uint64_t i = 0; i < 300; ++i) writer->put(static_cast<SpaceId>(i % 2), i * 3, page_of(i));
    return commit_named(*writer, 1);
  }

  // Some pages changed, some dropped, a space gone, one new.
  Version make_second(Version first) {
    auto writer = application_->begin(first, Base::kParent);
    for (std::uint64_t i = 0; i < 300; i += 30) writer->put(0, i * 3, page_of(1000 + i));
    writer->drop(0, {.first_page = 0, .page_count = 20});
    writer->keep_only(1, {});
    writer->put(2, 5, page_of(77));
    return commit_named(*writer, 2);
  }

  Version commit_named(CheckpointWriter& writer, std::int64_t created) {
    VersionDescription description;
    description.run_id = "run";
    description.created_realtime_ns = created;
    description.command = {"program", "argument"};
    std::string image = "image " + std::to_string(created);
    return writer.commit(description, std::as_bytes(std::span(image)));
  }

  Bytes sent(Version version, Version since = 0, std::uint64_t skip = 0) {
    Bytes stream;
    auto base = since != 0 ? application_->open(since) : nullptr;
    send_version(
        "app", *application_->open(version), base.get(), skip,
        [&](std::span<const std::byte> bytes) { stream.insert(stream.end(), bytes.begin(), bytes.end()); });
    return stream;
  }

  Received received(const Bytes& stream, const std::optional<std::string>& name = std::nullopt) {
    std::span<const std::byte> left(stream);
    return receive_version(other_, name, [&](std::span<std::byte> out) {
      std::size_t size = std::min({out.size(), left.size(), std::size_t{1000}});
      std::copy_n(left.begin(), size, out.begin());
      left = left.subspan(size);
      return size;
    });
  }

  void expect_equal(Version here, const Received& there) {
    auto one = application_->open(here);
    auto other = other_.application(there.name)->open(there.version);
    EXPECT_EQ(content_of(*one, {0, 1, 2}), content_of(*other, {0, 1, 2}));
    EXPECT_TRUE(std::ranges::equal(one->image(), other->image()));
    EXPECT_EQ(one->description().command, other->description().command);
    EXPECT_TRUE(same_checkpoint(one->description(), other->description()));
  }

  std::vector<std::string> hidden_files() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ + "/other")) {
      if (entry.path().filename().string().starts_with('.')) names.push_back(entry.path().filename());
    }
    return names;
  }

  Store other_;
};

TEST_F(Transfer, WholeVersion) {
  Version first = make_first();
  Received there = received(sent(first));
  EXPECT_EQ(there.name, "app");
  EXPECT_EQ(there.version, first);
  expect_equal(first, there);
  EXPECT_TRUE(hidden_files().empty());
}

TEST_F(Transfer, OnlyWhatChangedAndTheSameNumbers) {
  Version first = make_first();
  application_->remove(commit_page(first, 9));
  Version second = make_second(first);
  ASSERT_EQ(second, 3U);
  received(sent(first));
  Bytes stream = sent(second, first);
  EXPECT_LT(stream.size(), sent(second).size() / 4);
  Received there = received(stream);
  EXPECT_EQ(there.version, second);
  expect_equal(second, there);
}

TEST_F(Transfer, TakesAnotherNameAndTheNextNumber) {
  Version first = make_first();
  Version second = make_second(first);
  received(sent(second), "copy");
  Received there = received(sent(first), "copy");
  EXPECT_EQ(there.name, "copy");
  EXPECT_EQ(there.version, second + 1);
  expect_equal(first, there);
}

TEST_F(Transfer, WhatIsThereIsNotReceivedAgain) {
  Version first = make_first();
  received(sent(first));
  Received again = received(sent(first));
  EXPECT_TRUE(again.was_there);
  EXPECT_EQ(again.version, first);
  EXPECT_EQ(other_.application("app")->versions().size(), 1U);
}

TEST_F(Transfer, BaseThatIsNotThereIsNamed) {
  Version first = make_first();
  Version second = make_second(first);
  EXPECT_NE(error_of([&] { received(sent(second, first)); }).find("app@1"), std::string::npos);
  received(sent(second), "app");
  EXPECT_TRUE(hidden_files().empty());
}

// Wherever the stream ends, nothing is visible, and it goes on from there.
TEST_F(Transfer, GoesOnWhereItWasInterrupted) {
  Version first = make_first();
  Bytes stream = sent(first);
  std::size_t interruptions = 0;
  for (std::size_t cut = 1; cut < stream.size(); cut += stream.size() / 15) {
    Bytes part(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(cut));
    EXPECT_THROW(received(part), Error);
    EXPECT_TRUE(other_.applications().empty());
    std::vector<PartialTransfer> partial = partial_transfers(other_);
    if (partial.empty()) continue;  // within the head
    ASSERT_EQ(partial.size(), 1U);
    EXPECT_EQ(partial[0].version, first);
    Received there = received(sent(first, 0, partial[0].body_bytes));
    expect_equal(first, there);
    EXPECT_TRUE(hidden_files().empty());
    other_.remove_application("app");
    ++interruptions;
  }
  EXPECT_GT(interruptions, 10U);
}

TEST_F(Transfer, WrongOffsetIsRefusedOnBothSides) {
  Version first = make_first();
  Bytes stream = sent(first);
  EXPECT_NE(error_of([&] { sent(first, 0, 7); }).find("--partial"), std::string::npos);
  EXPECT_NE(error_of([&] { sent(first, 0, stream.size() * 2); }).find("has only"), std::string::npos);
  Bytes part(stream.begin(), stream.end() - 1);
  EXPECT_THROW(received(part), Error);
  std::uint64_t here = partial_transfers(other_).at(0).body_bytes;
  constexpr std::uint64_t kImageRecord = 48 + 7;
  EXPECT_NE(error_of([&] { received(sent(first, 0, kImageRecord)); }).find(std::to_string(here)),
            std::string::npos);
}

// Every damaged byte is found; nothing becomes visible, and nothing breaks.
TEST_F(Transfer, DamageOnTheWayIsFound) {
  Version first = make_first();
  Bytes stream = sent(first);
  std::mt19937_64 random(17);
  for (int i = 0; i < 300; ++i) {
    Bytes damaged = stream;
    std::size_t position = i < 200 ? static_cast<std::size_t>(i) : random() % damaged.size();
    damaged[position] ^= static_cast<std::byte>(1U << random() % 8);
    std::string message = error_of([&] { received(damaged); });
    EXPECT_FALSE(message.empty());
    EXPECT_TRUE(other_.applications().empty()) << "byte " << position << ": " << message;
  }
}

TEST_F(Transfer, OtherInputIsRefused) {
  EXPECT_NE(error_of([&] { received({}); }).find("no stream"), std::string::npos);
  EXPECT_NE(error_of([&] { received(Bytes(100)); }).find("no stream"), std::string::npos);
}

}  // namespace
}  // namespace ckpt::store
