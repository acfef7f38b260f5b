// dirties_memory under ckptrun, and its view of the pauses.
#pragma once

#include <string>
#include <vector>

#include "../programs/dirties_memory.h"
#include "child_run.h"
#include "settings.h"

namespace ckpt::bench {

struct DirtierOptions {
  std::uint64_t resident_bytes = 0;
  std::uint64_t dirty_bytes_per_second = 0;
  unsigned threads = 1;
  bool calm = false;  // for what is not about pauses: it would take a processor
};

// The mapped control page; survives the program, which finds it again when it is resumed.
class DirtierPage {
 public:
  explicit DirtierPage(const std::string& path);
  ~DirtierPage();
  DirtierPage(const DirtierPage&) = delete;
  DirtierPage& operator=(const DirtierPage&) = delete;

  DirtierControl& control() { return *control_; }
  // Ends the window that is open, opens the next; the largest gap of the ended one, in milliseconds.
  double next_window();

 private:
  DirtierControl* control_;
};

std::vector<std::string> dirtier_command(const Settings& settings, const DirtierOptions& options,
                                         const std::string& control_file);

}  // namespace ckpt::bench
