// A program made of two functions: one opens things and is saved from outside, the other looks at what it
// finds after the descriptors were restored in another process.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/resource/descriptors.h"

namespace ckpt::engine {

// Pages in memory, in the place of a store.
class PageMemory : public store::CheckpointWriter, public store::CheckpointReader {
 public:
  void put(store::SpaceId space, std::uint64_t first_page, std::span<const std::byte> bytes) override;
  void drop(store::SpaceId space, store::PageRun run) override;
  void keep_only(store::SpaceId space, std::span<const store::PageRun> present) override;
  std::vector<store::SpaceId> parent_spaces() const override { return {}; }
  store::PutPlace find_put(store::SpaceId, std::uint64_t) override { return {}; }
  std::shared_ptr<const store::PutPages> put_pages() override { return nullptr; }
  void hurry() override {}
  store::Version commit(store::VersionDescription& description, std::span<const std::byte> image) override;

  const store::VersionDescription& description() const override { return description_; }
  std::span<const std::byte> image() const override { return {}; }
  std::vector<store::PageRun> runs(store::SpaceId space) const override;
  std::vector<store::StoredRun> stored_runs(store::SpaceId) const override { return {}; }
  void read(store::SpaceId space, store::PageRun run, std::span<std::byte> out) const override;
  std::vector<store::SpaceId> spaces() const override { return {}; }
  std::vector<store::PageRun> differing(store::SpaceId, const store::CheckpointReader&) const override {
    return {};
  }
  std::vector<store::PageRun> differing(store::SpaceId, store::SpaceId) const override { return {}; }
  std::uint64_t read_or_zero(store::SpaceId space, store::PageRun run,
                             std::span<std::byte> out) const override {
    read(space, run, out);
    return run.page_count;
  }

  std::size_t page_count() const;

 private:
  store::VersionDescription description_;
  std::map<store::SpaceId, std::map<std::uint64_t, std::vector<std::byte>>> pages_;
};

struct SavedProgram {
  image::CheckpointT checkpoint;
  PageMemory pages;
  std::vector<std::string> notes;
  std::vector<UniqueFd> files_to_sync;

  const image::DescriptorT* descriptor(int number) const;
  const image::DescriptionT& description(int number) const;
};

// Runs `open_things` in a process of its own (descriptors above 2 closed), saves its descriptors while it is
// stopped, and ends it. `look` runs in the test while the program is still stopped.
std::unique_ptr<SavedProgram> save_program(const std::function<void()>& open_things,
                                           const std::function<void(pid_t)>& look = {});

// What save_program says when it refuses; empty if it does not.
std::string refusal(const std::function<void()>& open_things);

// Restores the descriptors in a process of its own (after `prepare` ran there) and runs `look` in it. The
// result is the message of the first exception, empty if there was none.
std::string look_inside(const SavedProgram& program, const std::function<void()>& look,
                        const std::function<void()>& prepare = {}, const SocketPolicy& sockets = {});

// For use in both processes: throws with `what` if `condition` does not hold.
void require(bool condition, const std::string& what);
int require_fd(int result, const std::string& what);  // also: moves nothing, returns `result`
void require_equal(long long found, long long expected, const std::string& what);

// Moves an open descriptor to exactly `number`.
int put_at(int fd, int number);
bool is_open(int number);
std::string read_available(int fd, std::size_t most = 1 << 16);
bool same_file_description(int left, int right);

// A directory that disappears with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string file(const std::string& name) const { return path_ + "/" + name; }
  std::string file_with(const std::string& name, const std::string& content) const;

 private:
  std::string path_;
};

}  // namespace ckpt::engine
