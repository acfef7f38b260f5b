#pragma once

namespace ckpt::engine {

// What a restore does about a file lock that the program held and another process holds now.
enum class LockPolicy {
  kFail,   // the restore fails, naming the holder
  kWait,   // until it can be had
  kIgnore  // the program goes on without it; a note says so
};

}  // namespace ckpt::engine
