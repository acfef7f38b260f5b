// The segment file while it is written: sequential, through one large aligned buffer, under a temporary name.
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
#include <cstdlib>
#include <memory>
#include <span>
#include <string>

#include "base/unique_fd.h"

namespace ckpt::store {

// Aligned, and kept between writers: first touch of fresh memory costs more than the copy.
class OutputBuffer {
 public:
  static constexpr std::size_t kBytes = 4U << 20;
  OutputBuffer();
  std::byte* data() { return bytes_.get(); }

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<std::byte, Free> bytes_;
};

class SegmentOutput {
 public:
  // Creates `temporary` in `directory` (whose path is `directory_path`, for messages).
  SegmentOutput(int directory, const std::string& directory_path, std::string temporary,
                std::shared_ptr<OutputBuffer> buffer);
  ~SegmentOutput();
  SegmentOutput(const SegmentOutput&) = delete;
  SegmentOutput& operator=(const SegmentOutput&) = delete;

  std::uint64_t position() const { return written_ + buffered_; }
  void append(std::span<const std::byte> bytes);
  void pad_to(std::uint64_t alignment);
  // The position must be a multiple of 4096. On return the file is durable under `name`.
  void publish(const std::string& name);

 private:
  void flush();
  void sync_and_close();
  [[noreturn]] void fail(const std::string& attempt, int code);
  void remove_temporary() noexcept;

  int directory_;
  std::string directory_path_;
  std::string temporary_;
  std::string path_;
  std::shared_ptr<OutputBuffer> buffer_;
  UniqueFd fd_;
  std::uint64_t written_ = 0;
  std::size_t buffered_ = 0;
};

}  // namespace ckpt::store
