#include "launcher/commit_job.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>

#include "base/error.h"
#include "base/file_io.h"

namespace ckpt::launcher {
namespace {

std::string path_of(int fd) {
  try {
    return read_link(fmt::format("/proc/self/fd/{}", fd));
  } catch (const Error&) {
    return "a file of the program";
  }
}

CommitResult commit(store::Application& application, CommitWork& work) {
  CommitResult result;
  result.description = std::move(work.description);
  try {
    sync_files(work.files_to_sync);
    work.writer->commit(result.description, work.image);
  } catch (const std::exception& error) {
    result.error = error.what();
    return result;
  }
  try {
    application.retain(work.keep, result.description.run_id);
  } catch (const std::exception& error) {
    result.retention_error = error.what();
  }
  return result;
}

}  // namespace

void sync_files(const std::vector<UniqueFd>& files) {
  for (const UniqueFd& file : files) {
    int synced = 0;
    do {
      synced = ::fdatasync(file.get());
    } while (synced != 0 && errno == EINTR);
    if (synced == 0 || errno == EINVAL || errno == EROFS) continue;
    throw_errno(
        fmt::format("sync {}, which the program has open; check that file system", path_of(file.get())));
  }
}

CommitJob::CommitJob() : done_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!done_) throw_errno("create an eventfd");
}

void CommitJob::start(store::Application& application, CommitWork work) {
  thread_ = std::jthread([this, &application, moved = std::move(work)]() mutable {
    result_ = commit(application, moved);
    moved.writer.reset();  // a failed version leaves the disk before anybody hears of it
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t put = ::write(done_.get(), &one, sizeof one);
  });
}

CommitResult CommitJob::finish() {
  thread_.join();
  std::uint64_t count = 0;
  [[maybe_unused]] ssize_t got = ::read(done_.get(), &count, sizeof count);
  return std::move(result_);
}

}  // namespace ckpt::launcher
