// The segment file while it is written: sequential, through large aligned buffers, under a temporary name.
//
// O_DIRECT where the file system takes it (six times faster than buffered writes followed by a sync, and the
// page cache stays the program's); every write is a multiple of 4096 from an aligned buffer, so both ways are
// the same code.
//
// Hard rules: a failed call makes the output dead and removes the file; nothing is retried; the final name
// appears only after fdatasync and close succeeded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/unique_fd.h"
#include "store/put_pages.h"
#include "store/write_queue.h"

namespace ckpt::store {

class SegmentOutput {
 public:
  // Creates `temporary` in `directory` (whose path is `directory_path`, for messages).
  SegmentOutput(int directory, const std::string& directory_path, std::string temporary,
                std::shared_ptr<OutputBuffers> buffers, BackgroundPriority& priority);
  ~SegmentOutput();
  SegmentOutput(const SegmentOutput&) = delete;
  SegmentOutput& operator=(const SegmentOutput&) = delete;

  std::uint64_t position() const { return submitted_ + buffered_; }
  // Written some time later: a failure shows in one of the next calls.
  void append(std::span<const std::byte> bytes);
  void pad_to(std::uint64_t alignment);
  // The position must be a multiple of 4096. On return the file is durable under `name`.
  void publish(const std::string& name);

  // For reading back what was appended so far. Called before publish.
  std::shared_ptr<const PutPages> put_pages();

 private:
  void submit();
  void end_queue();
  void check(int write_result);
  void sync_and_close();
  [[noreturn]] void fail(const std::string& attempt, int code);
  void remove_temporary() noexcept;

  int directory_;
  std::string directory_path_;
  std::string temporary_;
  std::string path_;
  UniqueFd fd_;
  std::optional<WriteQueue> queue_;  // none: failed or published
  std::shared_ptr<SegmentPutPages> put_pages_;
  std::uint64_t submitted_ = 0;
  std::size_t buffered_ = 0;
};

}  // namespace ckpt::store
