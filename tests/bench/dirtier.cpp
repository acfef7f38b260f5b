#include "dirtier.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thread>

#include "base/error.h"
#include "base/file_io.h"

namespace ckpt::bench {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::chrono::seconds kPatience{60};

}  // namespace

DirtierPage::DirtierPage(const std::string& path) {
  UniqueFd file = open_or_throw(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (::ftruncate(file.get(), kPageBytes) != 0) throw_errno("make " + path);
  void* memory = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) throw_errno("map " + path);
  control_ = static_cast<DirtierControl*>(memory);
}

DirtierPage::~DirtierPage() { ::munmap(control_, kPageBytes); }

double DirtierPage::next_window() {
  const std::uint32_t window = ++control_->window;
  const Clock::time_point deadline = Clock::now() + kPatience;
  while (control_->window_answered != window) {
    if (Clock::now() > deadline) throw Error("dirties_memory does not answer; has it ended?");
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  return static_cast<double>(control_->largest_gap_ns) / 1e6;
}

std::vector<std::string> dirtier_command(const Settings& settings, const DirtierOptions& options,
                                         const std::string& control_file) {
  std::vector<std::string> command{settings.programs + "/dirties_memory",
                                   "--resident",
                                   std::to_string(options.resident_bytes / kMib),
                                   "--rate",
                                   std::to_string(options.dirty_bytes_per_second / kMib),
                                   "--threads",
                                   std::to_string(options.threads),
                                   "--control",
                                   control_file};
  if (options.calm) command.emplace_back("--calm");
  command.push_back(settings.directory + "/never");
  return command;
}

}  // namespace ckpt::bench
