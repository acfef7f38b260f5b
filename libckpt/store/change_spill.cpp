#include "store/change_spill.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "store/store_file.h"
#include "store/system_calls.h"

namespace ckpt::store {

void ChangeSpill::open() {
  fd_ = UniqueFd(open_in(directory_, ".", O_RDWR | O_TMPFILE, 0600));
  if (fd_) return;
  // open(2): not every file system has files without a name.
  fd_ = UniqueFd(open_in(directory_, kName, O_RDWR | O_CREAT | O_EXCL, 0600));
  if (!fd_) throw write_error(fmt::format("create {}", path_), errno);
  system_calls().unlinkat(directory_, kName, 0);
}

void ChangeSpill::store(LeafChanges& leaf) {
  if (leaf.pages.empty()) return;
  load(leaf);
  leaf.normalize();
  if (!fd_) open();
  leaf.spilled_at = written_ + buffer_.size();
  leaf.spilled_count = static_cast<std::uint32_t>(leaf.pages.size());
  auto bytes = std::as_bytes(std::span(leaf.pages));
  buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  std::vector<PageChange>().swap(leaf.pages);
  if (buffer_.size() >= kBufferBytes) flush();
}

void ChangeSpill::load(LeafChanges& leaf) {
  if (leaf.spilled_count == 0) return;
  flush();
  std::vector<PageChange> pages(leaf.spilled_count);
  read_exactly(fd_.get(), std::as_writable_bytes(std::span(pages)), leaf.spilled_at, path_);
  leaf.spilled_count = 0;
  // Those in memory came later.
  pages.insert(pages.end(), leaf.pages.begin(), leaf.pages.end());
  leaf.pages = std::move(pages);
}

void ChangeSpill::flush() {
  if (int error = write_exactly(fd_.get(), buffer_, written_); error != 0)
    throw write_error(fmt::format("write {}", path_), error);
  written_ += buffer_.size();
  buffer_.clear();
}

}  // namespace ckpt::store
