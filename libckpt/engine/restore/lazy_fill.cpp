#include "engine/restore/lazy_fill.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/restore/program_family.h"

namespace ckpt::engine {
namespace {

constexpr int kDeathMs = 10'000;

}  // namespace

LazyFill::LazyFill(LazyFillWork work) {
  std::ranges::transform(work.processes, std::back_inserter(processes_), watch_process);
  guardian_.emplace(processes_);
  server_.emplace(PageServerWork{.reader = std::move(work.reader),
                                 .memories = std::move(work.memories),
                                 .directory = work.directory,
                                 .processes = processes_,
                                 .stays = work.stays});
}

LazyFill::~LazyFill() {
  if (!server_->done()) {
    kill_families(processes_);
    have_ended(processes_, kDeathMs);
  }
  server_.reset();
  guardian_.reset();
}

}  // namespace ckpt::engine
