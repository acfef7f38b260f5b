// What became of an application's leases: the file STORE/NAME/leases, one JSON object per line, appended to
// at every change. The last line of a lease is its state. A line that cannot be read, because a crash cut it
// short or a later release wrote it, counts as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launcher/lease.h"

namespace ckpt::launcher {

struct LeaseChange {
  std::int64_t realtime_ns = 0;
  std::string name;
  std::string kind;  // "exec", "program", ...
  LeaseState state = LeaseState::kActive;
  std::string detail;  // where it is held now, or why it was lost; one line
  std::string data;    // what its owner wants to find again
};

// `directory` stays owned by the caller.
class LeaseLog {
 public:
  explicit LeaseLog(int directory) : directory_(directory) {}

  // With the time of now, whatever `change` says. Throws Error if it cannot be written.
  void append(const LeaseChange& change) const;
  std::vector<LeaseChange> changes() const;  // oldest first
  std::vector<LeaseChange> states() const;   // the last change of each lease, in order of first appearance
  std::optional<LeaseChange> state(const std::string& name) const;

 private:
  int directory_;
};

}  // namespace ckpt::launcher
