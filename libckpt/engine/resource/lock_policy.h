#pragma once

#include <string>

namespace ckpt::engine {

// What a restore does about a file lock that the program held and another process holds now.
enum class LockPolicy {
  kFail,   // the restore fails, naming the holder
  kWait,   // until it can be had
  kIgnore  // the program goes on without it; a note says so
};

// A file lock that the program held.
struct FileLockOutcome {
  std::string path;
  std::string holder;  // who holds it now, if it was not taken again; else empty
};

}  // namespace ckpt::engine
