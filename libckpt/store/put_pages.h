// Reads back what was put into a segment that is not complete yet, from its file or from the buffers that
// wait to be written to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "store/checkpoint_store.h"
#include "store/write_queue.h"

namespace ckpt::store {

class SegmentPutPages final : public PutPages {
 public:
  // `fd` reads the file at `path` that `queue` writes.
  SegmentPutPages(UniqueFd fd, std::string path, WriteQueue& queue)
      : fd_(std::move(fd)), path_(std::move(path)), queue_(&queue) {}

  void read(std::uint64_t unit, std::span<std::byte> out) const override;
  // The queue is about to end: what it could not write is kept here.
  void detach();

 private:
  bool copy_from_buffers(std::uint64_t offset, std::span<std::byte> out) const;

  UniqueFd fd_;
  std::string path_;
  mutable std::mutex mutex_;
  WriteQueue* queue_;                                          // nullptr: it has ended
  std::map<std::uint64_t, std::vector<std::byte>> unwritten_;  // by offset, OutputBuffers::kBytes each
};

}  // namespace ckpt::store
