#include "launcher/checkpoint_job.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <utility>

#include "base/error.h"
#include "base/file_io.h"
#include "launcher/kept_versions.h"

namespace ckpt::launcher {
namespace {

std::string path_of(int fd) {
  try {
    return read_link(fmt::format("/proc/self/fd/{}", fd));
  } catch (const Error&) {
    return "a file of the program";
  }
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

BackgroundWork::BackgroundWork() : done_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!done_) throw_errno("create an eventfd");
}

void BackgroundWork::start(std::function<void()> work) {
  thread_ = std::jthread([this, moved = std::move(work)] {
    try {
      moved();
    } catch (...) {
      failure_ = std::current_exception();
    }
    std::uint64_t one = 1;
    [[maybe_unused]] ssize_t put = ::write(done_.get(), &one, sizeof one);
  });
}

bool BackgroundWork::over() const {
  pollfd done{.fd = done_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&done, 1, 0) > 0;
}

void BackgroundWork::finish() {
  thread_.join();
  std::uint64_t count = 0;
  [[maybe_unused]] ssize_t got = ::read(done_.get(), &count, sizeof count);
  if (std::exception_ptr failure = std::exchange(failure_, nullptr)) std::rethrow_exception(failure);
}

void CheckpointJob::start(store::Application& application, engine::Session& session, CheckpointOrder order) {
  application_ = &application;
  session_ = &session;
  order_ = std::move(order);
  outcome_ = {};
  stage_ = Stage::kCapture;
  capture_ = session.begin_capture(*order_.writer, order_.capture);
}

std::optional<CheckpointOutcome> CheckpointJob::advance() {
  try {
    while (busy() && step()) {
    }
  } catch (...) {
    abandon();
    throw;
  }
  if (busy()) return std::nullopt;
  return std::move(outcome_);
}

// False if there is nothing to do before the background work is over.
bool CheckpointJob::step() {
  if (background_.busy()) {
    if (!background_.over()) return false;
    background_.finish();
    if (stage_ == Stage::kCommit) {
      session_->committed(outcome_.description.version);
      order_ = {};
      stage_ = Stage::kIdle;
      return true;
    }
  }
  switch (capture_->next()) {
    case engine::Capture::Next::kForeground:
      capture_->run();
      return true;
    case engine::Capture::Next::kBackground:
      background_.start([this] { capture_->run(); });
      return false;
    case engine::Capture::Next::kDone:
      begin_commit();
      return false;
  }
  return false;
}

void CheckpointJob::begin_commit() {
  engine::CaptureResult captured = capture_->take_result();
  capture_.reset();
  stage_ = Stage::kCommit;
  outcome_.description = std::move(order_.description);
  outcome_.description.pid = captured.program_pid;
  outcome_.description.process_count = captured.process_count;
  outcome_.description.thread_count = captured.thread_count;
  outcome_.description.notes = std::move(captured.notes);
  outcome_.description.kept = std::move(captured.kept);
  outcome_.description.stats = captured.stats;
  outcome_.holdings = std::move(captured.holdings);
  auto moved = std::make_shared<engine::CaptureResult>(std::move(captured));
  background_.start([this, moved] {
    sync_files(moved->files_to_sync);
    order_.writer->commit(outcome_.description, moved->image);
    if (order_.durable) order_.durable(outcome_.description.version);
    try {
      auto retain = [this] { application_->retain(order_.keep, outcome_.description.run_id); };
      may_keep_ = may_keep_ || !outcome_.description.kept.empty();
      if (may_keep_) {
        may_keep_ = remove_with_kept(*application_, retain);
      } else {
        retain();
      }
    } catch (const std::exception& error) {
      outcome_.retention_error = error.what();
    }
  });
}

void CheckpointJob::hurry() {
  if (order_.writer) order_.writer->hurry();
}

void CheckpointJob::abandon() {
  if (background_.busy()) {
    try {
      background_.finish();
    } catch (const std::exception&) {
      // It is given up for another reason already.
    }
  }
  capture_.reset();
  order_ = {};  // a failed version leaves the disk before anybody hears of it
  stage_ = Stage::kIdle;
}

}  // namespace ckpt::launcher
